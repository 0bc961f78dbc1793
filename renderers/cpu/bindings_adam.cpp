// Python's side of adam.h: arrays in and changed in place, no interpreter lock while the kernel runs.
//
// Compiled without the kernels' CPU flags, as bindings.cpp is.
#include "bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>

#include "adam.h"
#include "engine.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

using Rows = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ReadRows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Factors = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Live = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class A>
void require_shape(const A& array, const Rows& values, const char* what) {
    if (array.shape(0) != values.shape(0) || array.shape(1) != values.shape(1)) throw std::invalid_argument(what);
}

}  // namespace

void bind_adam(nb::module_& m) {
    m.def(
        "adam_step",
        [](Rows values, Rows first, Rows second, Rows average, Counts counts, Counts last, ReadRows gradient,
           std::optional<Live> live, std::optional<Factors> factors, int32_t step, float rate, float l2, float decay, float beta2, bool skip_zero_rows) {
            require_shape(first, values, "first: must be [N, F]");
            require_shape(second, values, "second: must be [N, F]");
            const bool averaged = average.shape(1) > 0;
            if (averaged) require_shape(average, values, "average: must be [N, F] or [N, 0]");
            require_shape(gradient, values, "gradient: must be [N, F]");
            if (counts.shape(0) != values.shape(0) || last.shape(0) != values.shape(0)) {
                throw std::invalid_argument("counts, last: must be [N]");
            }
            if (live.has_value() && live->shape(0) != values.shape(0)) {
                throw std::invalid_argument("live: must be [N]");
            }
            if (factors.has_value() && factors->shape(0) != values.shape(1)) {
                throw std::invalid_argument("factors: must be [F]");
            }
            const AdamRows rows{values.data(), first.data(), second.data(), averaged ? average.data() : nullptr,
                                counts.data(), last.data(), gradient.data(), live.has_value() ? live->data() : nullptr,
                                factors.has_value() ? factors->data() : nullptr,
                                static_cast<int64_t>(values.shape(0)), static_cast<int>(values.shape(1))};
            AdamSettings settings;
            settings.step = step, settings.rate = rate, settings.l2 = l2, settings.decay = decay;
            settings.beta2 = beta2, settings.skip_zero_rows = skip_zero_rows;
            const nb::gil_scoped_release release;
            Engine::instance().run(Cancel(), [&](Pool& pool) {
                adam_step(rows, settings, pool);
                return true;
            });
        },
        "values"_a, "first"_a, "second"_a, "average"_a, "counts"_a, "last"_a, "gradient"_a, "live"_a.none(),
        "factors"_a.none(),         "step"_a, "rate"_a, "l2"_a, "decay"_a, "beta2"_a, "skip_zero_rows"_a);
}

}  // namespace h3d
