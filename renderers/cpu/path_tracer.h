// Unidirectional path tracing: a light sample and a scattered direction at every vertex, weighed against each other.
//
// A path's vertices are x1 (what the camera sees), x2, ...; at each, `gathered` is the light that its own light sample
// and the emission of the next vertex bring, `carried` what the next vertex's scattered light is multiplied with. So
// scattered(x_i) = gathered_i + carried_i scattered(x_(i+1)), in expectation. Three tracers share that step: whole
// paths; prefixes, which end where a cache is to be asked; training paths, which say of their first vertices what a cache
// has to learn. What a path draws depends on (seed, number of the ray, sample, bounce) alone. R rays, P paths, V vertices of a path.
// Source: Veach 1997 (multiple importance sampling, power heuristic); Mueller et al. 2021, section 4 (prefixes).
#pragma once

#include <array>
#include <cstdint>

#include "pool.h"
#include "surface_arrays.h"

namespace h3d {

struct PathRays {
    const float* origins = nullptr;     // [R, 3]
    const float* directions = nullptr;  // [R, 3] unit
    const int32_t* numbers = nullptr;   // [R] what a ray's chance depends on, or null: its row
    int64_t count = 0;
};

struct PathSettings {
    uint64_t seed = 0;
    uint32_t first_sample = 0;
    int samples = 1;         // a ray, whose mean is given
    int max_bounces = 64;    // vertices that scatter, at most
    int roulette_from = 3;   // bounce from which on paths of little throughput are ended by chance
    float spread = 0.01f;    // of a prefix, relative to that of the pixel: wider than this, a cache will do
    bool next_event = true;  // whether lights are sampled, or only met
};

// What the rays meet first; each may be null. Depth 0 = nothing.
struct FirstHits {
    float* depth = nullptr;        // [R]
    float* normals = nullptr;      // [R, 3] towards the eye
    float* reflectance = nullptr;  // [R, 3] albedo + specular
};

// Where a cache is asked: one row a vertex. Directions go from the vertex to where its light is wanted.
struct PathVertices {
    float* positions = nullptr;   // [N, 3]
    float* directions = nullptr;  // [N, 3]
    float* normals = nullptr;     // [N, 3]
    float* albedo = nullptr;      // [N, 3]
    float* specular = nullptr;    // [N, 3]
    float* roughness = nullptr;   // [N]
};

// Mean radiance [R, 3] along the rays. False when cancelled, like the other two.
bool trace_paths(const SurfaceArrays& scene, const PathRays& rays, const PathSettings& settings, float* rgb,
                 const FirstHits& first, Pool& pool, const Cancel& cancel);

// One sample a ray: radiance [R, 3] up to the vertex where the cache is asked for scattered light, and the throughput
// [R, 3] of that; 0 where there is nothing to ask, then the row of `vertices` is a made-up one.
struct PrefixArrays {
    float* rgb = nullptr;
    float* throughput = nullptr;
    PathVertices vertices;  // [R]
};
bool trace_prefixes(const SurfaceArrays& scene, const PathRays& rays, const PathSettings& settings,
                    const PrefixArrays& out, const FirstHits& first, Pool& pool, const Cancel& cancel);

// One path a ray: its first V vertices in rows p (V + 1) to p (V + 1) + counts[p]. Of the first `whole` paths the last
// vertex has gathered all that lies beyond it; the others are cut, and open[p] says whether the row after the last
// vertex holds the one whose scattered light is still to be added.
struct TrainingArrays {
    PathVertices vertices;      // [P (V + 1)]
    float* gathered = nullptr;  // [P, V, 3]
    float* carried = nullptr;   // [P, V, 3]
    int32_t* counts = nullptr;  // [P]
    uint8_t* open = nullptr;    // [P]
    int64_t whole = 0;
    int kept = 0;  // V
};
bool trace_training(const SurfaceArrays& scene, const PathRays& rays, const PathSettings& settings,
                    const TrainingArrays& out, Pool& pool, const Cancel& cancel);

// The generator itself, so that it can be held against its authors' numbers.
std::array<uint32_t, 4> philox_words(std::array<uint32_t, 4> counter, uint64_t key);

}  // namespace h3d
