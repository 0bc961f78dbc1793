// Path tracing and the inputs of a radiance cache for Python. Compiled without the kernels' CPU flags, like bindings.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "bindings.h"
#include "engine.h"
#include "path_tracer.h"
#include "surface_inputs.h"

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
using OutVectors = Array<float, Any, Size<3>>;
using OutValues = Array<float, Any>;
using Owners = Array<const int32_t, Any>;
using Numbers = std::optional<Array<const int32_t, Any>>;

// Throws std::invalid_argument: the doors have checked already, this keeps a slip from reading foreign memory.
void require(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(what);
}

// Arrays of a scene, kept alive while their addresses are in use.
struct Surfaces {
    Array<const float, Any, Size<4>> spheres;
    Owners sphere_materials;
    Array<const float, Any, Size<9>> quads;
    Owners quad_materials;
    Array<const float, Any, Size<10>> materials;

    SurfaceArrays arrays() const {
        return {spheres.data(), sphere_materials.data(), static_cast<int64_t>(spheres.shape(0)),
                quads.data(),   quad_materials.data(),   static_cast<int64_t>(quads.shape(0)),
                materials.data(), static_cast<int64_t>(materials.shape(0))};
    }
};

void require_owners(const Owners& owners, size_t rows, size_t materials, const char* what) {
    const bool inside = std::all_of(owners.data(), owners.data() + owners.shape(0), [&](int32_t material) {
        return material >= 0 && material < static_cast<int64_t>(materials);
    });
    require(owners.shape(0) == rows && inside, what);
}

struct First {
    OutValues depth;
    OutVectors normals, reflectance;

    FirstHits arrays(size_t rays) const {
        require(depth.shape(0) == rays && normals.shape(0) == rays && reflectance.shape(0) == rays,
                "first: must have as many rows as rays");
        return {depth.data(), normals.data(), reflectance.data()};
    }
};

struct Vertices {
    OutVectors positions, directions, normals, albedo, specular;
    OutValues roughness;

    PathVertices arrays(size_t rows) const {
        for (const OutVectors& array : {positions, directions, normals, albedo, specular}) {
            require(array.shape(0) == rows, "vertices: must have a row a vertex");
        }
        require(roughness.shape(0) == rows, "vertices: must have a row a vertex");
        return {positions.data(), directions.data(), normals.data(), albedo.data(), specular.data(), roughness.data()};
    }
};

PathRays rays_of(const Vectors& origins, const Vectors& directions, const Numbers& numbers = std::nullopt) {
    const size_t count = origins.shape(0);
    require(directions.shape(0) == count, "rays: origins and directions must have as many rows");
    require(!numbers || numbers->shape(0) == count, "rays: numbers must have as many rows as origins");
    return {origins.data(), directions.data(), numbers ? numbers->data() : nullptr, static_cast<int64_t>(count)};
}

template <class Body>
bool with_pool(uintptr_t cancel_address, Body&& body) {
    const Cancel cancel(reinterpret_cast<const int32_t*>(cancel_address));
    const nb::gil_scoped_release release;
    return Engine::instance().run(cancel, [&](Pool& pool) { return body(pool, cancel); });
}

bool paths(const Surfaces& scene, const Vectors& origins, const Vectors& directions, const PathSettings& settings,
           const OutVectors& rgb, const First& first, const Numbers& numbers, uintptr_t cancel_address) {
    const PathRays rays = rays_of(origins, directions, numbers);
    require(rgb.shape(0) == origins.shape(0), "rgb: must be [R, 3]");
    const FirstHits hits = first.arrays(origins.shape(0));
    return with_pool(cancel_address, [&](Pool& pool, const Cancel& cancel) {
        return trace_paths(scene.arrays(), rays, settings, rgb.data(), hits, pool, cancel);
    });
}

bool prefixes(const Surfaces& scene, const Vectors& origins, const Vectors& directions, const PathSettings& settings,
              const OutVectors& rgb, const OutVectors& throughput, const Vertices& vertices, const First& first,
              const Numbers& numbers, uintptr_t cancel_address) {
    const PathRays rays = rays_of(origins, directions, numbers);
    const size_t count = origins.shape(0);
    require(rgb.shape(0) == count && throughput.shape(0) == count, "rgb, throughput: must be [R, 3]");
    const PrefixArrays out{rgb.data(), throughput.data(), vertices.arrays(count)};
    const FirstHits hits = first.arrays(count);
    return with_pool(cancel_address, [&](Pool& pool, const Cancel& cancel) {
        return trace_prefixes(scene.arrays(), rays, settings, out, hits, pool, cancel);
    });
}

bool training(const Surfaces& scene, const Vectors& origins, const Vectors& directions, const PathSettings& settings,
              const Vertices& vertices, const Array<float, Any, Any, Size<3>>& gathered,
              const Array<float, Any, Any, Size<3>>& carried, const Array<int32_t, Any>& counts,
              const Array<uint8_t, Any>& open, int64_t whole, uintptr_t cancel_address) {
    const PathRays rays = rays_of(origins, directions);
    const size_t paths = origins.shape(0), kept = gathered.shape(1);
    require(kept > 0 && gathered.shape(0) == paths && carried.shape(0) == paths && carried.shape(1) == kept &&
                counts.shape(0) == paths && open.shape(0) == paths,
            "training: gathered and carried must be [P, V, 3], counts and open [P]");
    TrainingArrays out{vertices.arrays(paths * (kept + 1)), gathered.data(), carried.data(), counts.data(), open.data()};
    out.whole = whole, out.kept = static_cast<int>(kept);
    return with_pool(cancel_address, [&](Pool& pool, const Cancel& cancel) {
        return trace_training(scene.arrays(), rays, settings, out, pool, cancel);
    });
}

void inputs(const Array<const float, Any, Any>& hashed, const Vectors& directions, const Vectors& normals,
            const Vectors& albedo, const Vectors& specular, const Array<const float, Any>& roughness,
            const Array<float, Any, Any>& out) {
    const size_t count = hashed.shape(0);
    for (const Vectors& array : {directions, normals, albedo, specular}) {
        require(array.shape(0) == count, "surface_inputs: all arrays must have as many rows");
    }
    require(roughness.shape(0) == count && out.shape(0) == count && out.shape(1) == hashed.shape(1) + kSurfaceInputs,
            "surface_inputs: all arrays must have as many rows, and out 27 columns more than hashed");
    const SurfacePoints points{directions.data(), normals.data(),   albedo.data(),
                               specular.data(),   roughness.data(), static_cast<int64_t>(count)};
    with_pool(0, [&](Pool& pool, const Cancel&) {
        surface_inputs(hashed.data(), static_cast<int>(hashed.shape(1)), points, out.data(), pool);
        return true;
    });
}

void bind_records(nb::module_& m) {
    nb::class_<Surfaces>(m, "Surfaces")
        .def(
            "__init__",
            [](Surfaces* self, Array<const float, Any, Size<4>> spheres, Owners sphere_materials,
               Array<const float, Any, Size<9>> quads, Owners quad_materials,
               Array<const float, Any, Size<10>> materials) {
                const size_t count = materials.shape(0);
                require_owners(sphere_materials, spheres.shape(0), count, "sphere_materials: must be [S] rows of materials");
                require_owners(quad_materials, quads.shape(0), count, "quad_materials: must be [Q] rows of materials");
                new (self) Surfaces{spheres, sphere_materials, quads, quad_materials, materials};
            },
            "spheres"_a, "sphere_materials"_a, "quads"_a, "quad_materials"_a, "materials"_a);
    nb::class_<PathSettings>(m, "PathSettings")
        .def(nb::init<>())
        .def_rw("seed", &PathSettings::seed)
        .def_rw("first_sample", &PathSettings::first_sample)
        .def_rw("samples", &PathSettings::samples)
        .def_rw("max_bounces", &PathSettings::max_bounces)
        .def_rw("roulette_from", &PathSettings::roulette_from)
        .def_rw("spread", &PathSettings::spread)
        .def_rw("next_event", &PathSettings::next_event);
    nb::class_<First>(m, "FirstHits")
        .def("__init__",
             [](First* self, OutValues depth, OutVectors normals, OutVectors reflectance) {
                 new (self) First{depth, normals, reflectance};
             },
             "depth"_a, "normals"_a, "reflectance"_a);
    nb::class_<Vertices>(m, "PathVertices")
        .def("__init__",
             [](Vertices* self, OutVectors positions, OutVectors directions, OutVectors normals, OutVectors albedo,
                OutVectors specular, OutValues roughness) {
                 new (self) Vertices{positions, directions, normals, albedo, specular, roughness};
             },
             "positions"_a, "directions"_a, "normals"_a, "albedo"_a, "specular"_a, "roughness"_a);
}

}  // namespace

void bind_path_tracer(nb::module_& m) {
    bind_records(m);
    m.def("trace_paths", &paths, "scene"_a, "origins"_a, "directions"_a, "settings"_a, "rgb"_a, "first"_a,
          "numbers"_a.none(), "cancel_address"_a);
    m.def("trace_prefixes", &prefixes, "scene"_a, "origins"_a, "directions"_a, "settings"_a, "rgb"_a, "throughput"_a,
          "vertices"_a, "first"_a, "numbers"_a.none(), "cancel_address"_a);
    m.def("trace_training", &training, "scene"_a, "origins"_a, "directions"_a, "settings"_a, "vertices"_a, "gathered"_a,
          "carried"_a, "counts"_a, "open"_a, "whole"_a, "cancel_address"_a);
    m.def("surface_inputs", &inputs, "hashed"_a, "directions"_a, "normals"_a, "albedo"_a, "specular"_a, "roughness"_a,
          "out"_a);
    m.def("philox", &philox_words, "counter"_a, "key"_a);
}

}  // namespace h3d
