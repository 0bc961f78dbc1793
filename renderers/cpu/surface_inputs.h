// What a network is told of a point on a surface: the hash features of its place, then 27 numbers of everything else.
//
// Nine spherical harmonics of the direction that light leaves in, eight of the normal (the first, a constant, is there
// already), the roughness as four bumps, albedo and specular as they are. N points, W = hash features.
// Source: Mueller et al. 2021, table 1 and section 3; harmonics in place of one-blob encodings of angles, which have poles.
#pragma once

#include <cstdint>

#include "pool.h"

namespace h3d {

constexpr int kSurfaceInputs = 27;

struct SurfacePoints {
    const float* directions = nullptr;  // [N, 3]
    const float* normals = nullptr;     // [N, 3]
    const float* albedo = nullptr;      // [N, 3]
    const float* specular = nullptr;    // [N, 3]
    const float* roughness = nullptr;   // [N]
    int64_t count = 0;
};

void surface_inputs(const float* hashed, int width, const SurfacePoints& points, float* out, Pool& pool);

}  // namespace h3d
