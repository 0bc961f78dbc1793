// What the rows of a view become before they are ellipses: the half axes on the picture, as the projection and its
// gradients need them.
#pragma once

#include <algorithm>

#include "block.h"

namespace h3d {

constexpr float kHalfLog2E = 0.72134752f;  // alpha = opacity 2^(-kHalfLog2E mahalanobis^2)

inline View view_of(const SceneRows& rows, const Settings& set, const TileGrid& grid) {
    const float w = static_cast<float>(set.width), h = static_cast<float>(set.height);
    const float side_x = 0.3f * (0.5f * w / set.fx), side_y = 0.3f * (0.5f * h / set.fy);
    int degree = rows.bases >= 16 ? 3 : rows.bases >= 9 ? 2 : rows.bases >= 4 ? 1 : 0;
    degree = std::min(degree, set.sh_degree);
    return {rows, set, grid,
            -(set.cx / set.fx + side_x), (w - set.cx) / set.fx + side_x,
            -(set.cy / set.fy + side_y), (h - set.cy) / set.fy + side_y,
            (degree + 1) * (degree + 1)};
}

inline // Column `k` of `count` rows of `stride` floats; lanes past the end are zero.
Lanes column(const float* p, int stride, int k, int count) {
    alignas(64) Row out = {};
    for (int i = 0; i < count; i++) out[i] = p[i * stride + k];
    return Lanes::load(out);
}

// The 2 x 3 matrix A = J M R S and its factors: p and q are its rows, to_x and to_y those of J M.
struct Axes {
    Lanes rotation[3][3];
    Lanes scale[3];
    Lanes tan_x, tan_y;  // x / z and y / z, clamped
    Lanes to_x[3], to_y[3];
    Lanes p[3], q[3];
};

inline Axes project_axes(const View& view, int64_t row, int n, const Vec3& camera, Lanes inv_z) {
    const Settings& set = view.set;
    const float* m = view.rows.to_camera;
    const float* quats = view.rows.quats + 4 * row;
    const float* scales = view.rows.scales + 3 * row;
    const Lanes w = column(quats, 4, 0, n), x = column(quats, 4, 1, n);
    const Lanes y = column(quats, 4, 2, n), z = column(quats, 4, 3, n);
    const Lanes s = Lanes(2.0f) / fma(w, w, fma(x, x, fma(y, y, z * z)));
    const Lanes sx = s * x, sy = s * y, sz = s * z;
    const Lanes one(1.0f);
    Axes axes = {
        {{one - fma(sy, y, sz * z), sx * y - sz * w, fma(sx, z, sy * w)},
         {fma(sx, y, sz * w), one - fma(sx, x, sz * z), sy * z - sx * w},
         {sx * z - sy * w, fma(sy, z, sx * w), one - fma(sx, x, sy * y)}},
        {}, {}, {}, {}, {}, {}, {}};
    axes.tan_x = min(max(camera.x * inv_z, Lanes(view.lim_x_low)), Lanes(view.lim_x_high));
    axes.tan_y = min(max(camera.y * inv_z, Lanes(view.lim_y_low)), Lanes(view.lim_y_high));
    const Lanes jx = Lanes(set.fx) * inv_z, jy = Lanes(set.fy) * inv_z;
    for (int k = 0; k < 3; k++) {
        axes.to_x[k] = jx * fnma(axes.tan_x, Lanes(m[8 + k]), Lanes(m[k]));
        axes.to_y[k] = jy * fnma(axes.tan_y, Lanes(m[8 + k]), Lanes(m[4 + k]));
    }
    const Lanes *to_x = axes.to_x, *to_y = axes.to_y;
    const auto& rotation = axes.rotation;
    for (int k = 0; k < 3; k++) {
        axes.scale[k] = column(scales, 3, k, n) * set.splat_scale;
        axes.p[k] = axes.scale[k] * fma(to_x[0], rotation[0][k], fma(to_x[1], rotation[1][k], to_x[2] * rotation[2][k]));
        axes.q[k] = axes.scale[k] * fma(to_y[0], rotation[0][k], fma(to_y[1], rotation[1][k], to_y[2] * rotation[2][k]));
    }
    return axes;
}

}  // namespace h3d
