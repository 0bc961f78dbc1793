// A scene of surfaces as its caller holds it.
#pragma once

#include <cstdint>

namespace h3d {

struct SurfaceArrays {
    const float* spheres = nullptr;             // [S, 4] centre, radius
    const int32_t* sphere_materials = nullptr;  // [S]
    int64_t sphere_count = 0;
    const float* quads = nullptr;             // [Q, 9] corner, u, v
    const int32_t* quad_materials = nullptr;  // [Q]
    int64_t quad_count = 0;
    const float* materials = nullptr;  // [M, 10] albedo, specular, emission, roughness
    int64_t material_count = 0;
};

}  // namespace h3d
