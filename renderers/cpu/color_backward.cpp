// Gradients of stage 1, colour: spherical harmonics, to their coefficients and through the direction to the means.
#include <algorithm>

#include "block.h"
#include "harmonics.h"

namespace h3d {
namespace {

// out[k][ch] = basis[k] d[ch] below `count`, 0 up to `stored`.
void write_row(const float* basis, const float d[3], int count, int stored, float* out) {
    for (int k = 0; k < count; k++) {
        for (int ch = 0; ch < 3; ch++) out[3 * k + ch] = basis[k] * d[ch];
    }
    std::fill(out + 3 * count, out + 3 * stored, 0.0f);
}

}  // namespace

Vec3 color_backward(const View& view, int64_t row, int count, const Vec3& mean, const Lanes (&d_rgb)[3], float* sh) {
    const int bases = view.bases, stored = view.rows.bases;
    alignas(64) Row d[3], basis[kLanes] = {}, weights[kLanes] = {};
    for (int ch = 0; ch < 3; ch++) d_rgb[ch].store(d[ch]);
    Lanes inv;
    const Vec3 dir = direction_to(view, mean, inv);
    basis_at(dir.x, dir.y, dir.z, bases, basis);
    transpose(basis);
    for (int i = 0; i < count; i++) {
        const float of_row[3] = {d[0][i], d[1][i], d[2][i]};
        const bool lit = of_row[0] != 0.0f || of_row[1] != 0.0f || of_row[2] != 0.0f;
        if (sh != nullptr) write_row(basis[i], of_row, lit ? bases : 0, stored, sh + static_cast<int64_t>(3) * stored * i);
        if (!lit) continue;
        const float* values = view.rows.sh + static_cast<int64_t>(3) * stored * (row + i);
        for (int k = 1; k < bases; k++) {
            weights[i][k] = of_row[0] * values[3 * k] + of_row[1] * values[3 * k + 1] + of_row[2] * values[3 * k + 2];
        }
    }
    if (bases == 1) return {Lanes(0.0f), Lanes(0.0f), Lanes(0.0f)};
    transpose(weights);
    Lanes slope[3];
    basis_slope(dir.x, dir.y, dir.z, bases, weights, slope);
    // A unit direction moves only across itself.
    const Lanes along = fma(slope[0], dir.x, fma(slope[1], dir.y, slope[2] * dir.z));
    return {inv * fnma(along, dir.x, slope[0]), inv * fnma(along, dir.y, slope[1]), inv * fnma(along, dir.z, slope[2])};
}

}  // namespace h3d
