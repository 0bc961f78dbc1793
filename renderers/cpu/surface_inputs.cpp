#include "surface_inputs.h"

#include <algorithm>
#include <cstring>

#include "harmonics.h"

namespace h3d {
namespace {

constexpr int kBumps = 4;

// A quartic bump about the middle of each of four bins of [0, 1].
void bumps(float x, float* out) {
    for (int i = 0; i < kBumps; i++) {
        const float d = kBumps * x - (static_cast<float>(i) + 0.5f), rest = std::max(0.0f, 1.0f - 0.5f * d * d);
        out[i] = rest * rest;
    }
}

// Harmonics of up to sixteen vectors.
void harmonics_of(const float* vectors, int count, float (*basis)[kLanes]) {
    alignas(64) float axes[3][kLanes] = {};
    for (int i = 0; i < count; i++) {
        for (int axis = 0; axis < 3; axis++) axes[axis][i] = vectors[3 * i + axis];
    }
    basis_at(Lanes::load(axes[0]), Lanes::load(axes[1]), Lanes::load(axes[2]), 9, basis);
}

}  // namespace

void surface_inputs(const float* hashed, int width, const SurfacePoints& points, float* out, Pool& pool) {
    constexpr int64_t kRows = 64 * kLanes;  // of a pool's item
    const int stride = width + kSurfaceInputs;
    pool.run((points.count + kRows - 1) / kRows, Cancel(), [&](int, int64_t item) {
        const int64_t last = std::min(points.count, kRows * (item + 1));
        for (int64_t first = kRows * item; first < last; first += kLanes) {
            const int count = static_cast<int>(std::min<int64_t>(kLanes, last - first));
            alignas(64) float of_direction[9][kLanes], of_normal[9][kLanes];
            harmonics_of(points.directions + 3 * first, count, of_direction);
            harmonics_of(points.normals + 3 * first, count, of_normal);
            for (int i = 0; i < count; i++) {
                const int64_t row = first + i;
                float* to = out + row * stride;
                std::memcpy(to, hashed + row * width, sizeof(float) * static_cast<size_t>(width));
                to += width;
                for (int k = 0; k < 9; k++) *to++ = of_direction[k][i];
                for (int k = 1; k < 9; k++) *to++ = of_normal[k][i];
                bumps(points.roughness[row], to);
                std::memcpy(to + kBumps, points.albedo + 3 * row, 3 * sizeof(float));
                std::memcpy(to + kBumps + 3, points.specular + 3 * row, 3 * sizeof(float));
            }
        }
    });
}

}  // namespace h3d
