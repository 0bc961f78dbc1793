// The Python module h3d.renderers.cpu._kernels: arrays of torch or numpy in, no copy, no interpreter lock while it runs.
//
// This file and cpu_features.cpp are compiled without the kernels' CPU flags, so that importing the module is safe on any
// CPU; the Python side asks missing_features() before the first kernel.
#include "bindings.h"
#include "bindings_scene.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "blocks.h"
#include "engine.h"
#include "cpu_features.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

// Where the results go.
struct Targets {
    Out<float> rgb, alpha, depth, features, contribution_sum, contribution_max;
    Out<uint8_t> rgb_bytes;
    Out<int32_t> top_id;
    Out<int64_t> contribution_count;
};

// Stage times and counts as a dict, or None when it was cancelled.
nb::object rasterize_arrays(const std::vector<Scene>& scenes, const Settings& settings, const Targets& targets,
                     uintptr_t cancel_address, Tape* tape) {
    std::vector<SceneRows> rows;
    int64_t first = 0;
    for (const Scene& scene : scenes) {
        rows.push_back(rows_of(scene, first));
        first += rows.back().count;
    }
    Outputs outputs{data_or_null(targets.rgb),      data_or_null(targets.rgb_bytes),
                    data_or_null(targets.alpha),    data_or_null(targets.depth),
                    data_or_null(targets.features), data_or_null(targets.contribution_sum),
                    data_or_null(targets.contribution_max), data_or_null(targets.contribution_count),
                    data_or_null(targets.top_id)};
    const Cancel cancel(reinterpret_cast<const int32_t*>(cancel_address));
    Stats stats;
    bool done = false;
    {
        const nb::gil_scoped_release release;
        const Frame frame{rows, settings, outputs, cancel};
        done = tape != nullptr ? Engine::instance().rasterize(frame, *tape->state, stats)
                               : Engine::instance().rasterize(frame, stats);
    }
    if (!done) return nb::none();
    nb::dict out;
    out["visible"] = static_cast<double>(stats.visible);
    out["intersections"] = static_cast<double>(stats.intersections);
    out["project_ms"] = stats.project_ms;
    out["bin_ms"] = stats.bin_ms;
    out["sort_ms"] = stats.sort_ms;
    out["raster_ms"] = stats.raster_ms;
    out["scratch_bytes"] = static_cast<double>(stats.scratch_bytes);
    return out;
}

void bind_scene(nb::module_& m) {
    nb::class_<Scene>(m, "Scene")
        .def(
            "__init__",
            [](Scene* self, In<float, Any, Dim<3>> means, In<float, Any, Dim<4>> quats, In<float, Any, Dim<3>> scales,
               In<float, Any> opacities, In<float, Any, Any, Dim<3>> sh, std::optional<In<float, Any, Any>> features,
               std::optional<In<uint8_t, Any>> visible, std::array<float, 12> to_camera, std::array<float, 3> eye,
               std::array<float, 9> turn) {
                const size_t n = means.shape(0);
                if (quats.shape(0) != n || scales.shape(0) != n || opacities.shape(0) != n || sh.shape(0) != n ||
                    (features.has_value() && features->shape(0) != n) ||
                    (visible.has_value() && visible->shape(0) != n)) {
                    throw std::invalid_argument("scene: all arrays must have as many rows as means");
                }
                new (self) Scene{means, quats, scales, opacities, sh, features, visible, to_camera, eye, turn};
            },
            "means"_a, "quats"_a, "scales"_a, "opacities"_a, "sh"_a, nb::kw_only(), "features"_a.none(),
            "visible"_a.none(), "to_camera"_a, "eye"_a, "turn"_a);
}

void bind_settings(nb::module_& m) {
    nb::class_<Settings>(m, "Settings")
        .def(nb::init<>())
        .def_rw("width", &Settings::width)
        .def_rw("height", &Settings::height)
        .def_prop_rw(
            "rect", [](const Settings& s) { return std::array<int, 4>{s.x0, s.y0, s.x1, s.y1}; },
            [](Settings& s, std::array<int, 4> r) { s.x0 = r[0], s.y0 = r[1], s.x1 = r[2], s.y1 = r[3]; })
        .def_prop_rw(
            "intrinsics", [](const Settings& s) { return std::array<float, 4>{s.fx, s.fy, s.cx, s.cy}; },
            [](Settings& s, std::array<float, 4> k) { s.fx = k[0], s.fy = k[1], s.cx = k[2], s.cy = k[3]; })
        .def_prop_rw(
            "background",
            [](const Settings& s) { return std::array<float, 3>{s.background[0], s.background[1], s.background[2]}; },
            [](Settings& s, std::array<float, 3> c) { std::copy(c.begin(), c.end(), s.background); })
        .def_rw("near_plane", &Settings::near_plane)
        .def_rw("far_plane", &Settings::far_plane)
        .def_rw("eps2d", &Settings::eps2d)
        .def_rw("band_entries", &Settings::band_entries)
        .def_rw("splat_scale", &Settings::splat_scale)
        .def_rw("point_size", &Settings::point_size)
        .def_rw("sh_degree", &Settings::sh_degree)
        .def_rw("channels", &Settings::channels)
        .def_rw("antialiased", &Settings::antialiased)
        .def_rw("normals", &Settings::normals)
        .def_rw("shape", &Settings::shape);
}

void bind_targets(nb::module_& m) {
    nb::class_<Targets>(m, "Targets")
        .def(nb::init<>())
        .def_rw("rgb", &Targets::rgb, nb::arg().none())
        .def_rw("rgb_bytes", &Targets::rgb_bytes, nb::arg().none())
        .def_rw("alpha", &Targets::alpha, nb::arg().none())
        .def_rw("depth", &Targets::depth, nb::arg().none())
        .def_rw("features", &Targets::features, nb::arg().none())
        .def_rw("contribution_sum", &Targets::contribution_sum, nb::arg().none())
        .def_rw("contribution_max", &Targets::contribution_max, nb::arg().none())
        .def_rw("contribution_count", &Targets::contribution_count, nb::arg().none())
        .def_rw("top_id", &Targets::top_id, nb::arg().none());
}

}  // namespace
}  // namespace h3d

NB_MODULE(_kernels, m) {
    using namespace h3d;
    // Graphs of torch that still live at exit hold tapes: no leak to warn about.
    nb::set_leak_warnings(false);
    nb::enum_<Shape>(m, "Shape")
        .value("splats", Shape::splats)
        .value("points", Shape::points)
        .value("ellipsoids", Shape::ellipsoids)
        .value("rings", Shape::rings);
    bind_scene(m);
    bind_settings(m);
    bind_targets(m);
    bind_encoding(m);
    bind_fields(m);
    bind_radiance(m);
    bind_adam(m);
    bind_image_loss(m);
    bind_path_tracer(m);
    bind_gradients(m);
    m.def("rasterize", &rasterize_arrays, "scenes"_a, "settings"_a, "targets"_a, "cancel_address"_a,
          "tape"_a.none() = nb::none());
    m.def("compiled_features", &compiled_features);
    m.def("missing_features", &missing_features);
    const auto unlocked = nb::call_guard<nb::gil_scoped_release>();
    m.def("num_threads", [] { return Engine::instance().threads(); }, unlocked);
    m.def("set_num_threads", [](int n) { Engine::instance().set_threads(n); }, "threads"_a, unlocked);
    m.def("scratch_bytes", [] { return Engine::instance().scratch_bytes(); }, unlocked);
    m.def("release_scratch", [] { Engine::instance().release_scratch(); }, unlocked);
    m.def("reset_after_fork", [] {
        Engine::reset_after_fork();
        Blocks::reset_after_fork();
    });
}
