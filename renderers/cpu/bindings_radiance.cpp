// Python's side of radiance.h. Compiled without the kernels' CPU flags, like bindings.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "bindings.h"
#include "engine.h"
#include "occupancy.h"
#include "radiance.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

template <class T, std::ptrdiff_t... sizes>
using Array = nb::ndarray<T, nb::shape<sizes...>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using TableRows = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char* sentence) {
    if (!holds) throw std::invalid_argument(sentence);
}

// The field with the arrays that it points into, kept alive.
struct HeldField {
    TableRows table;
    std::vector<Matrix> density, color;
    RadianceField field;
};

Mlp mlp_of(const std::vector<Matrix>& weights, size_t in, size_t out) {
    Mlp mlp;
    for (const Matrix& w : weights) {
        require(w.shape(1) == in && w.shape(0) > 0, "weights: a layer's inputs must be its forerunner's outputs");
        mlp.layers.push_back({w.data(), static_cast<int>(in), static_cast<int>(w.shape(0))});
        in = w.shape(0);
    }
    require(!weights.empty() && in == out, "weights: the last layer has another number of outputs");
    return mlp;
}

void hold_field(HeldField* self, const HashGrid& encoding, const TableRows& table, const std::vector<Matrix>& density,
                const std::vector<Matrix>& color, const std::array<float, 6>& box,
                bool exponential) {
    require(encoding.dims == 3 && !encoding.levels.empty(), "encoding: must be 3D, with at least one level");
    const GridLevel& last = encoding.levels.back();
    require(table.shape(0) == static_cast<size_t>(last.offset) + last.size &&
                table.shape(1) == static_cast<size_t>(encoding.features),
            "table: must be [E, F]");
    RadianceField field{encoding, {}, mlp_of(density, static_cast<size_t>(encoding.width()), kDensityFeatures),
                        mlp_of(color, kDensityFeatures + kHarmonics, 3), exponential, box};
    if (table.dtype() == nb::dtype<float>()) {
        field.table.floats = static_cast<const float*>(table.data());
    } else {
        require(table.dtype().bits == 16, "table: must be float32 or float16");
        field.table.halves = static_cast<const Half*>(table.data());
    }
    new (self) HeldField{table, density, color, std::move(field)};
}

bool render_rays(const HeldField& held, const Array<const float, -1, 3>& origins,
                 const Array<const float, -1, 3>& directions, const Array<const uint8_t, -1, kGridBytes>& bits,
                 const RadianceSettings& set, std::optional<Array<const float, -1, 2>> spans,
                 const Array<float, -1, 3>& rgb, const Array<float, -1>& alpha, const Array<float, -1>& depth,
                 const Array<int32_t, -1>& counts, std::optional<Array<float, -1, 3>> normals,
                 uintptr_t cancel_address) {
    const size_t count = origins.shape(0);
    require(directions.shape(0) == count && (!spans.has_value() || spans->shape(0) == count) &&
                rgb.shape(0) == count && alpha.shape(0) == count && depth.shape(0) == count &&
                counts.shape(0) == count && (!normals.has_value() || normals->shape(0) == count),
            "render_radiance: all arrays of rays must have as many rows as origins");
    Rays rays;
    rays.origins = origins.data(), rays.directions = directions.data();
    rays.spans = spans.has_value() ? spans->data() : nullptr;
    rays.count = static_cast<int64_t>(count);
    const RadianceSeen out{rgb.data(), alpha.data(), depth.data(), counts.data(),
                           normals.has_value() ? normals->data() : nullptr};
    const Cancel cancel(reinterpret_cast<const int32_t*>(cancel_address));
    const nb::gil_scoped_release release;
    return Engine::instance().run(cancel, [&](Pool& pool) {
        const Occupancy grid(bits.data(), static_cast<int>(bits.shape(0)));
        return render_radiance(held.field, rays, grid, set, out, pool, cancel);
    });
}

}  // namespace

void bind_radiance(nb::module_& m) {
    nb::class_<RadianceSettings>(m, "RadianceSettings")
        .def(nb::init<>())
        .def_rw("march", &RadianceSettings::march)
        .def_rw("stop", &RadianceSettings::stop)
        .def_rw("smallest_weight", &RadianceSettings::smallest_weight)
        .def_rw("density_threshold", &RadianceSettings::density_threshold);
    nb::class_<HeldField>(m, "RadianceField")
        .def("__init__", &hold_field, "encoding"_a, "table"_a, "density"_a, "color"_a, "box"_a,
             "exponential"_a);
    m.def("render_radiance", &render_rays, "field"_a, "origins"_a, "directions"_a, "bits"_a, "settings"_a,
          "spans"_a.none(), "rgb"_a, "alpha"_a, "depth"_a, "counts"_a, "normals"_a.none(), "cancel_address"_a);
}

}  // namespace h3d
