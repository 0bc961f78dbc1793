// Rays through a hash-grid radiance field, all in one: march, encode, density, opacity, and colour where it counts.
//
// 64 rays are in flight on a thread. Each gives the sample that comes next, 64 samples go through the density network
// together, and those that weigh something queue for the colour network, so that no intermediate array leaves the cache,
// no sample behind an opaque one is asked for, and most are never coloured. The harmonics of a ray are worked out once.
// Weights too small for a colour of their own add up until they are not, and take that of the sample where they are.
// Source: Mueller et al. 2022 (field, march); the queues are ours.
#pragma once

#include <array>
#include <cstdint>

#include "hash_encoding.h"
#include "march.h"
#include "mlp.h"
#include "pool.h"

namespace h3d {

constexpr int kDensityFeatures = 16;  // outputs of the density network; the first is the logarithm of the density
constexpr int kHarmonics = 16;        // of the ray's direction, the colour network's other inputs

struct RadianceField {
    HashGrid encoding;  // 3D
    Table table;
    Mlp density;              // L F -> kDensityFeatures
    Mlp color;                // kDensityFeatures + kHarmonics -> 3, before the logistic or exp
    bool exponential = false;
    std::array<float, 6> box{};  // low and high corner of what the encoding's [0, 1]^3 covers
};

struct RadianceSettings {
    MarchSettings march;
    float stop = 1e-4f;               // a ray that lets less than this through is finished
    float smallest_weight = 1e-4f;    // from which on weights get a colour
    float density_threshold = 0.0f;   // below it density counts as none
};

// What each ray has seen. Color is over black; a stopped ray's is scaled up as if it had gone on like that.
struct RadianceSeen {
    float* rgb = nullptr;      // [R, 3]
    float* alpha = nullptr;    // [R]
    float* depth = nullptr;    // [R] mean distance, 0 where alpha is 0
    int32_t* counts = nullptr;  // [R] samples that were blended
    float* normals = nullptr;  // [R, 3] against the slope of the density, unit times alpha; or null
};

// False when cancelled. The same bits at every number of threads.
bool render_radiance(const RadianceField& field, const Rays& rays, const Occupancy& grid, const RadianceSettings& set,
                     const RadianceSeen& out, Pool& pool, const Cancel& cancel);

}  // namespace h3d
