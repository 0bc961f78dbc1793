// Python's side of image_loss.h: pictures in, the gradient into memory of the caller, no interpreter lock meanwhile.
//
// Compiled without the kernels' CPU flags, as bindings.cpp is.
#include "bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <optional>
#include <stdexcept>
#include <utility>

#include "engine.h"
#include "image_loss.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

using Picture = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Gradient = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Slopes = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

PicturePair pair_of(const Picture& rendered, const Picture& target) {
    for (size_t axis = 0; axis < 3; axis++) {
        if (target.shape(axis) != rendered.shape(axis)) throw std::invalid_argument("target: must be [H, W, C]");
    }
    return {rendered.data(), target.data(), static_cast<int64_t>(rendered.shape(0)),
            static_cast<int64_t>(rendered.shape(1)), static_cast<int>(rendered.shape(2))};
}

}  // namespace

void bind_image_loss(nb::module_& m) {
    m.def("image_loss_slopes", [](Picture rendered) { return slope_floats(pair_of(rendered, rendered)); }, "rendered"_a);
    m.def(
        "image_loss",
        [](Picture rendered, Picture target, float ssim_share, std::optional<Slopes> slopes,
           std::optional<Gradient> gradient) {
            const PicturePair pair = pair_of(rendered, target);
            if (slopes.has_value() != gradient.has_value()) {
                throw std::invalid_argument("slopes, gradient: give both or none");
            }
            if (gradient.has_value()) {
                pair_of(rendered, Picture(*gradient));
                if (static_cast<int64_t>(slopes->shape(0)) < slope_floats(pair) ||
                    reinterpret_cast<uintptr_t>(slopes->data()) % 64 != 0) {
                    throw std::invalid_argument("slopes: must be image_loss_slopes(rendered) floats, 64-byte aligned");
                }
            }
            Likeness likeness;
            {
                const nb::gil_scoped_release release;
                Engine::instance().run(Cancel(), [&](Pool& pool) {
                    likeness = image_loss(pair, ssim_share, slopes.has_value() ? slopes->data() : nullptr,
                                          gradient.has_value() ? gradient->data() : nullptr, pool);
                    return true;
                });
            }
            return std::pair(likeness.l1, likeness.ssim);
        },
        "rendered"_a, "target"_a, "ssim_share"_a, "slopes"_a.none(), "gradient"_a.none());
}

}  // namespace h3d
