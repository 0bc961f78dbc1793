// Stage 1, colour: spherical harmonics in the asset's own frame, or the shortest axis as a normal.
#include <bit>
#include <cmath>

#include "block.h"
#include "harmonics.h"

namespace h3d {
namespace {

constexpr float kHuge = 1e30f;

// Drops rows whose colour is not finite, and clamps the others at zero.
void keep_finite(Block& block, Row rgb[3]) {
    for (int ch = 0; ch < 3; ch++) {
        const Lanes value = Lanes::load(rgb[ch]);
        block.alive = block.alive & (abs(value) < Lanes(kHuge));
        max(value, Lanes(0.0f)).store(rgb[ch]);
    }
}

// 0.5 + sum over k of B_k sh_k.
void shade(const View& view, Block& block, Row rgb[3]) {
    const int64_t stride = static_cast<int64_t>(3) * view.rows.bases;
    const float* sh = view.rows.sh + stride * block.row;
    if (view.bases == 1) {
        for (int i = 0; i < block.count; i++) {
            for (int ch = 0; ch < 3; ch++) rgb[ch][i] = 0.5f + 0.28209479177387814f * sh[stride * i + ch];
        }
        return keep_finite(block, rgb);
    }
    Lanes inv;
    const Vec3 d = direction_to(view, block.mean, inv);
    alignas(64) Row basis[16] = {};
    basis_at(d.x, d.y, d.z, view.bases, basis);
    transpose(basis);
    for (uint32_t left = bits(block.alive); left != 0; left &= left - 1) {
        const int i = std::countr_zero(left);
        float sums[4];
        weighted_sum(basis[i], sh + stride * i, view.bases, sums);
        for (int ch = 0; ch < 3; ch++) rgb[ch][i] = 0.5f + sums[ch];
    }
    keep_finite(block, rgb);
}

// 0.5 + 0.5 n, n the shortest axis in world axes, turned to the eye.
void shade_normals(const View& view, Block& block, Row rgb[3]) {
    alignas(64) Row mean[3];
    block.mean.x.store(mean[0]), block.mean.y.store(mean[1]), block.mean.z.store(mean[2]);
    uint32_t alive = bits(block.alive);
    for (uint32_t left = alive; left != 0; left &= left - 1) {
        const int i = std::countr_zero(left);
        const float* s = view.rows.scales + 3 * (block.row + i);
        const float* q = view.rows.quats + 4 * (block.row + i);
        const float inv = 1.0f / std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
        const float w = q[0] * inv, x = q[1] * inv, y = q[2] * inv, z = q[3] * inv;
        const float axes[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)},
                                  {2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)},
                                  {2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)}};
        const float* n = axes[s[0] <= s[1] && s[0] <= s[2] ? 0 : s[1] <= s[2] ? 1 : 2];
        float facing = 0.0f;
        for (int k = 0; k < 3; k++) facing += n[k] * (mean[k][i] - view.rows.eye[k]);
        const float sign = facing > 0.0f ? -0.5f : 0.5f;
        for (int k = 0; k < 3; k++) {
            const float* turn = view.rows.turn + 3 * k;
            rgb[k][i] = 0.5f + sign * (turn[0] * n[0] + turn[1] * n[1] + turn[2] * n[2]);
            if (!(std::fabs(rgb[k][i]) < kHuge)) alive &= ~(1u << i);
        }
    }
    block.alive = Mask::from_bits(alive);
}

}  // namespace

void color(const View& view, Block& block, Row rgb[3]) {
    if (view.set.normals) {
        shade_normals(view, block, rgb);
    } else {
        shade(view, block, rgb);
    }
}

}  // namespace h3d
