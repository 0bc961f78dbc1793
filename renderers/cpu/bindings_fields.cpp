// Marching, blending and the occupancy grid for Python. Compiled without the kernels' CPU flags, like bindings.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <stdexcept>

#include "bindings.h"
#include "composite.h"
#include "engine.h"
#include "march.h"
#include "occupancy.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

template <class T, class... Sizes>
using Array = nb::ndarray<T, nb::shape<Sizes::value...>, nb::c_contig, nb::device::cpu>;
template <std::ptrdiff_t n>
using Size = std::integral_constant<std::ptrdiff_t, n>;
using Any = Size<-1>;
using Vectors = Array<const float, Any, Size<3>>;
using Values = Array<const float, Any>;

Cancel cancel_at(uintptr_t address) { return Cancel(reinterpret_cast<const int32_t*>(address)); }

template <class T>
auto data_or_null(const std::optional<T>& array) {
    return array.has_value() ? array->data() : nullptr;
}

void require(bool holds, const char* sentence) {
    if (!holds) throw std::invalid_argument(sentence);
}

// The kernels index with what they are given: a row that points outside must not reach them.
void check_runs(const Array<const int64_t, Any>& starts, const Array<const int64_t, Any>& counts, size_t samples) {
    require(starts.shape(0) == counts.shape(0), "ray_starts and ray_counts must have as many rows");
    const int64_t *first = starts.data(), *count = counts.data();
    for (size_t r = 0; r < starts.shape(0); r++) {
        require(first[r] >= 0 && count[r] >= 0 && first[r] <= static_cast<int64_t>(samples) - count[r],
                "ray_starts and ray_counts: a ray's samples lie outside the arrays of samples");
    }
}

// What march() leaves for write_samples(): the rays are the caller's arrays, kept alive here.
struct March {
    Vectors origins, directions;
    std::optional<Array<const int64_t, Any>> rows;
    Marched marched;

    Rays rays() const {
        const size_t count = rows.has_value() ? rows->shape(0) : origins.shape(0);
        return {origins.data(), directions.data(), nullptr, nullptr, data_or_null(rows), static_cast<int64_t>(count)};
    }
};

void check_rows(const Array<const int64_t, Any>& rows, size_t size) {
    const bool inside = std::all_of(rows.data(), rows.data() + rows.shape(0), [&](int64_t row) {
        return row >= 0 && row < static_cast<int64_t>(size);
    });
    require(inside, "rows: one lies outside the arrays of rays");
}

template <class Body>
bool with_pool(uintptr_t cancel_address, Body&& body) {
    const Cancel cancel = cancel_at(cancel_address);
    const nb::gil_scoped_release release;
    return Engine::instance().run(cancel, [&](Pool& pool) { return body(pool, cancel); });
}

// The marched steps, or None when it was cancelled.
std::optional<March> march_rays(const Vectors& origins, const Vectors& directions,
                                const Array<const uint8_t, Any, Size<kGridBytes>>& bits, const MarchSettings& set,
                                std::optional<Values> jitter, std::optional<Array<int32_t, Any>> steps,
                                std::optional<Array<const int64_t, Any>> rows,
                                std::optional<Array<const float, Any, Size<2>>> spans, uintptr_t cancel_address) {
    const size_t count = origins.shape(0);
    require(directions.shape(0) == count && (!jitter.has_value() || jitter->shape(0) == count) &&
                (!steps.has_value() || steps->shape(0) == count) &&
                (!spans.has_value() || spans->shape(0) == count),
            "march: all arrays of rays must have as many rows as origins");
    std::optional<March> out;
    if (rows.has_value()) check_rows(*rows, count);
    out.emplace(March{origins, directions, rows, {}});
    Rays rays = out->rays();
    rays.jitter = data_or_null(jitter);
    rays.spans = data_or_null(spans);
    const bool done = with_pool(cancel_address, [&](Pool& pool, const Cancel& cancel) {
        const Occupancy grid(bits.data(), static_cast<int>(bits.shape(0)));
        return march(rays, grid, set, data_or_null(steps), out->marched, pool, cancel);
    });
    if (!done) out.reset();
    return out;
}

bool write_march(const March& march, const Array<float, Any, Size<3>>& positions,
                 const Array<float, Any, Size<3>>& directions, const Array<float, Any>& t_starts,
                 const Array<float, Any>& t_ends, const Array<int64_t, Any>& ray_starts,
                 const Array<int64_t, Any>& ray_counts, uintptr_t cancel_address) {
    const size_t total = static_cast<size_t>(march.marched.total), rays = march.marched.counts.size();
    require(positions.shape(0) == total && directions.shape(0) == total && t_starts.shape(0) == total &&
                t_ends.shape(0) == total && ray_starts.shape(0) == rays && ray_counts.shape(0) == rays,
            "write: the arrays must have march.total and R rows");
    std::copy(march.marched.starts.begin(), march.marched.starts.end(), ray_starts.data());
    std::copy(march.marched.counts.begin(), march.marched.counts.end(), ray_counts.data());
    const SampleArrays arrays{positions.data(), directions.data(), t_starts.data(), t_ends.data()};
    return with_pool(cancel_address, [&](Pool& pool, const Cancel& cancel) {
        return write_samples(march.rays(), march.marched, arrays, pool, cancel);
    });
}

RaySamples samples_of(const Values& density, const Vectors& rgb, const Values& t_starts, const Values& t_ends,
                      const Array<const int64_t, Any>& starts, const Array<const int64_t, Any>& counts) {
    const size_t total = density.shape(0);
    require(rgb.shape(0) == total && t_starts.shape(0) == total && t_ends.shape(0) == total,
            "composite: density, rgb, t_starts and t_ends must have as many rows");
    check_runs(starts, counts, total);
    return {density.data(), rgb.data(),    t_starts.data(), t_ends.data(),
            starts.data(),  counts.data(), static_cast<int64_t>(starts.shape(0))};
}

bool composite_rays(const Values& density, const Vectors& rgb, const Values& t_starts, const Values& t_ends,
                    const Array<const int64_t, Any>& starts, const Array<const int64_t, Any>& counts, float stop,
                    const Array<float, Any, Size<3>>& sum_rgb, const Array<float, Any>& sum_alpha,
                    const Array<float, Any>& sum_depth, const Array<float, Any>& transmittance,
                    const Array<int32_t, Any>& used, std::optional<Array<const int64_t, Any>> rows,
                    std::optional<Array<float, Any>> weights, uintptr_t cancel_address) {
    const RaySamples samples = samples_of(density, rgb, t_starts, t_ends, starts, counts);
    const size_t seen = sum_rgb.shape(0), rays = starts.shape(0);
    require(sum_alpha.shape(0) == seen && sum_depth.shape(0) == seen && transmittance.shape(0) == seen &&
                used.shape(0) == seen && (!weights.has_value() || weights->shape(0) == density.shape(0)),
            "composite: the sums must have as many rows, and weights one a sample");
    require(rows.has_value() ? rows->shape(0) == rays : seen == rays, "composite: rows must name one row of sums a ray");
    if (rows.has_value()) {
        check_rows(*rows, seen);
    }
    const RaySums sums{sum_rgb.data(), sum_alpha.data(), sum_depth.data(), transmittance.data(), used.data(),
                       data_or_null(rows)};
    return with_pool(cancel_address, [&](Pool& pool, const Cancel& cancel) {
        return composite(samples, stop, sums, data_or_null(weights), pool, cancel);
    });
}

void composite_rays_backward(const Values& density, const Vectors& rgb, const Values& t_starts, const Values& t_ends,
                             const Array<const int64_t, Any>& starts, const Array<const int64_t, Any>& counts,
                             const Values& weights, const Values& transmittance, const Array<const int32_t, Any>& used,
                             const Vectors& of_rgb, const Values& of_alpha, const Values& of_depth,
                             std::optional<Values> of_weights, const Array<float, Any>& to_density,
                             const Array<float, Any, Size<3>>& to_rgb) {
    const RaySamples samples = samples_of(density, rgb, t_starts, t_ends, starts, counts);
    const size_t total = density.shape(0), rays = starts.shape(0);
    require(weights.shape(0) == total && to_density.shape(0) == total && to_rgb.shape(0) == total &&
                (!of_weights.has_value() || of_weights->shape(0) == total) && transmittance.shape(0) == rays &&
                used.shape(0) == rays && of_rgb.shape(0) == rays && of_alpha.shape(0) == rays &&
                of_depth.shape(0) == rays,
            "composite_backward: the arrays must have one row a sample, or one a ray");
    const CompositeGradient gradient{weights.data(),  transmittance.data(), used.data(),
                                     of_rgb.data(),   of_alpha.data(),      of_depth.data(),
                                     data_or_null(of_weights), to_density.data(), to_rgb.data()};
    with_pool(0, [&](Pool& pool, const Cancel&) {
        composite_backward(samples, gradient, pool);
        return true;
    });
}

void pack_occupancy(const Array<const float, Any, Size<kGridCells>>& values, float threshold,
                    const Array<uint8_t, Any, Size<kGridBytes>>& bits) {
    require(values.shape(0) == bits.shape(0), "pack_bits: values and bits must have as many cascades");
    with_pool(0, [&](Pool& pool, const Cancel&) {
        pack_bits(values.data(), static_cast<int>(values.shape(0)), threshold, bits.data(), pool);
        return true;
    });
}

void occupancy_centers(const Array<const int64_t, Any>& indices, int cascade, std::optional<Vectors> jitter,
                       const Array<float, Any, Size<3>>& centers) {
    const size_t count = indices.shape(0);
    require(centers.shape(0) == count && (!jitter.has_value() || jitter->shape(0) == count),
            "cell_centers: indices, jitter and centers must have as many rows");
    with_pool(0, [&](Pool& pool, const Cancel&) {
        cell_centers(indices.data(), static_cast<int64_t>(count), cascade, data_or_null(jitter), centers.data(), pool);
        return true;
    });
}

}  // namespace

void bind_fields(nb::module_& m) {
    nb::class_<MarchSettings>(m, "MarchSettings")
        .def(nb::init<>())
        .def_rw("aabb", &MarchSettings::aabb)
        .def_rw("cone_angle", &MarchSettings::cone_angle)
        .def_rw("near_plane", &MarchSettings::near_plane)
        .def_rw("stride", &MarchSettings::stride)
        .def_rw("max_samples", &MarchSettings::max_samples);
    nb::class_<March>(m, "March")
        .def_prop_ro("total", [](const March& march) { return march.marched.total; })
        .def("write", &write_march);
    m.def("march", &march_rays, "origins"_a, "directions"_a, "bits"_a, "settings"_a, "jitter"_a.none(),
          "steps"_a.none(), "rows"_a.none(), "spans"_a.none(), "cancel_address"_a);
    m.def("composite", &composite_rays, "density"_a, "rgb"_a, "t_starts"_a, "t_ends"_a, "ray_starts"_a, "ray_counts"_a,
          "stop"_a, "sum_rgb"_a, "sum_alpha"_a, "sum_depth"_a, "transmittance"_a, "used"_a, "rows"_a.none(),
          "weights"_a.none(), "cancel_address"_a);
    m.def("composite_backward", &composite_rays_backward, "density"_a, "rgb"_a, "t_starts"_a, "t_ends"_a,
          "ray_starts"_a, "ray_counts"_a, "weights"_a, "transmittance"_a, "used"_a, "of_rgb"_a, "of_alpha"_a,
          "of_depth"_a, "of_weights"_a.none(), "to_density"_a, "to_rgb"_a);
    m.def("pack_bits", &pack_occupancy, "values"_a, "threshold"_a, "bits"_a);
    m.def("cell_centers", &occupancy_centers, "indices"_a, "cascade"_a, "jitter"_a.none(), "centers"_a);
}

}  // namespace h3d
