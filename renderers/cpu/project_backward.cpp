// Gradients of stage 1: from sums over pixels to means, quaternions, scales, opacities and the camera, sixteen rows at
// a time.
//
// With L = [[a, b], [0, c]] of Splat, (u, v) = L d and the inverse covariance is L^T L / h, h = log2(e) / 2. The sums of
// g u, g v give the gradient of the mean on the picture, L^T (sum g u, sum g v) / h, those of g uu, g uv, g vv that of
// the covariance, L^T [[uu, uv], [uv, vv]] L / (2 h^2): no inverse is taken again. The covariance is A A^T + eps2d I.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "axes.h"
#include "block.h"
#include "gradients.h"

namespace h3d {
namespace {

constexpr int64_t kChunk = 1024;  // rows whose camera sums are added up together, whatever the number of threads
constexpr int kCamera = 15;

// A symmetric 2 x 2 matrix.
struct Symmetric {
    Lanes xx, xy, yy;
};

// Sixteen rows on their way back.
struct Back {
    int64_t row;  // in the scene
    int count;
    Mask alive;
    Vec3 mean;
    Lanes inv_z, tan_x, tan_y;  // tangents as they are, not clamped
    Axes axes;
    Lanes a, b, c;
    Lanes sums[kLanes];
    Vec3 d_mean;             // in the asset's frame
    Lanes d_p[3], d_q[3];    // to the rows of A
    Lanes d_x, d_y;          // to the mean on the picture
    Vec3 d_eye;
};

// Gradients of the camera's numbers, a lane a row.
struct CameraSums {
    Lanes of[kCamera];
    CameraSums() {
        for (Lanes& lanes : of) lanes = Lanes(0.0f);
    }
};

// The splats and sums of rows [row, row + count); false where none was drawn.
bool load(const View& view, const RasterState& state, int64_t stride, Back& back) {
    const int64_t first = view.rows.first + back.row;
    uint32_t drawn = 0;
    alignas(64) float sums[kLanes][kLanes] = {};
    alignas(64) Row a, b, c;
    for (int i = 0; i < kLanes; i++) a[i] = c[i] = 1.0f, b[i] = 0.0f;
    for (int i = 0; i < back.count; i++) {
        if (state.covers[first + i].width == 0) continue;
        drawn |= 1u << i;
        const Splat& splat = state.splats[first + i];
        a[i] = splat.a, b[i] = splat.b, c[i] = splat.c;
        std::memcpy(sums[i], state.row_gradients.data() + (first + i) * stride, sizeof(Row));
        // Clamped at zero, a colour does not move.
        for (int ch = 0; ch < 3; ch++) sums[i][kRed + ch] = splat.rgb[ch] > 0.0f ? sums[i][kRed + ch] : 0.0f;
    }
    back.alive = Mask::from_bits(drawn);
    back.a = Lanes::load(a), back.b = Lanes::load(b), back.c = Lanes::load(c);
    transpose(sums);
    for (int k = 0; k < kLanes; k++) back.sums[k] = Lanes::load(sums[k]);
    return drawn != 0;
}

void place(const View& view, Back& back) {
    const float *means = view.rows.means + 3 * back.row, *m = view.rows.to_camera;
    const int n = back.count;
    back.mean = {column(means, 3, 0, n), column(means, 3, 1, n), column(means, 3, 2, n)};
    const auto turned = [&](int r) {
        return fma(Lanes(m[4 * r]), back.mean.x,
                   fma(Lanes(m[4 * r + 1]), back.mean.y, fma(Lanes(m[4 * r + 2]), back.mean.z, Lanes(m[4 * r + 3]))));
    };
    const Vec3 camera{turned(0), turned(1), turned(2)};
    back.inv_z = Lanes(1.0f) / camera.z;
    back.tan_x = camera.x * back.inv_z, back.tan_y = camera.y * back.inv_z;
    back.axes = project_axes(view, back.row, n, camera, back.inv_z);
}

// Gradients of the covariance on the picture, then of A.
void through_outline(const View& view, Back& back) {
    constexpr float kInvH = 1.0f / kHalfLog2E;
    const Lanes *s = back.sums, *p = back.axes.p, *q = back.axes.q;
    const Lanes a = back.a, b = back.b, c = back.c;
    back.d_x = kInvH * (a * s[kGu]);
    back.d_y = kInvH * fma(b, s[kGu], c * s[kGv]);
    const Lanes bu = fma(b, s[kGuu], c * s[kGuv]), bv = fma(b, s[kGuv], c * s[kGvv]);
    constexpr float kHalf = 0.5f * kInvH * kInvH;
    Symmetric d{kHalf * (a * a * s[kGuu]), kHalf * (a * bu), kHalf * fma(b, bu, c * bv)};
    Lanes blunt(0.0f), m01, m02, m12;
    if (view.set.antialiased) {
        // Opacity is scaled by sqrt(det(A A^T) / det(A A^T + eps2d I)); the first is the square of p x q.
        d.xx = d.xx - 0.5f * kInvH * (s[kG] * (a * a));
        d.xy = d.xy - 0.5f * kInvH * (s[kG] * (a * b));
        d.yy = d.yy - 0.5f * kInvH * (s[kG] * fma(b, b, c * c));
        m01 = p[0] * q[1] - p[1] * q[0], m02 = p[0] * q[2] - p[2] * q[0], m12 = p[1] * q[2] - p[2] * q[1];
        blunt = s[kG] / fma(m01, m01, fma(m02, m02, m12 * m12));
    }
    for (int k = 0; k < 3; k++) {
        back.d_p[k] = 2.0f * fma(d.xx, p[k], d.xy * q[k]);
        back.d_q[k] = 2.0f * fma(d.xy, p[k], d.yy * q[k]);
    }
    if (!view.set.antialiased) return;
    back.d_p[0] = fma(blunt, fma(m01, q[1], m02 * q[2]), back.d_p[0]);
    back.d_p[1] = fma(blunt, m12 * q[2] - m01 * q[0], back.d_p[1]);
    back.d_p[2] = fnma(blunt, fma(m02, q[0], m12 * q[1]), back.d_p[2]);
    back.d_q[0] = fnma(blunt, fma(m01, p[1], m02 * p[2]), back.d_q[0]);
    back.d_q[1] = fma(blunt, m01 * p[0] - m12 * p[2], back.d_q[1]);
    back.d_q[2] = fma(blunt, fma(m02, p[0], m12 * p[1]), back.d_q[2]);
}

// A column of `count` rows of `stride` floats, from lanes; rows that were not drawn get zeros.
void put(const Back& back, Lanes value, float* out, int stride, int k) {
    alignas(64) Row row;
    keep(back.alive, value).store(row);
    for (int i = 0; i < back.count; i++) out[(back.row + i) * stride + k] = row[i];
}

// To the unit quaternion through each entry of its rotation, then across it.
void write_quats(const View& view, const Back& back, float* out) {
    const Axes& axes = back.axes;
    Lanes d[3][3];
    for (int j = 0; j < 3; j++) {
        for (int k = 0; k < 3; k++) {
            d[j][k] = axes.scale[k] * fma(back.d_p[k], axes.to_x[j], back.d_q[k] * axes.to_y[j]);
        }
    }
    const float* quats = view.rows.quats + 4 * back.row;
    Lanes w = column(quats, 4, 0, back.count), x = column(quats, 4, 1, back.count);
    Lanes y = column(quats, 4, 2, back.count), z = column(quats, 4, 3, back.count);
    const Lanes inv = Lanes(1.0f) / sqrt(fma(w, w, fma(x, x, fma(y, y, z * z))));
    w = w * inv, x = x * inv, y = y * inv, z = z * inv;
    const Lanes turn_x = d[2][1] - d[1][2], turn_y = d[0][2] - d[2][0], turn_z = d[1][0] - d[0][1];
    const Lanes xy = d[0][1] + d[1][0], xz = d[0][2] + d[2][0], yz = d[1][2] + d[2][1];
    const Lanes two(2.0f);
    Lanes dq[4] = {two * (x * turn_x + y * turn_y + z * turn_z),
                   two * (w * turn_x + y * xy + z * xz - two * x * (d[1][1] + d[2][2])),
                   two * (w * turn_y + x * xy + z * yz - two * y * (d[0][0] + d[2][2])),
                   two * (w * turn_z + x * xz + y * yz - two * z * (d[0][0] + d[1][1]))};
    const Lanes along = dq[0] * w + dq[1] * x + dq[2] * y + dq[3] * z;
    const Lanes unit[4] = {w, x, y, z};
    for (int k = 0; k < 4; k++) put(back, inv * fnma(along, unit[k], dq[k]), out, 4, k);
}

void write_scales(const View& view, const Back& back, float* out) {
    const Axes& axes = back.axes;
    for (int k = 0; k < 3; k++) {
        Lanes x(0.0f), y(0.0f);
        for (int j = 0; j < 3; j++) {
            x = fma(axes.to_x[j], axes.rotation[j][k], x), y = fma(axes.to_y[j], axes.rotation[j][k], y);
        }
        put(back, view.set.splat_scale * fma(back.d_p[k], x, back.d_q[k] * y), out, 3, k);
    }
}

// Through A = J M R S and the mean on the picture, to the mean and the matrix M = to_camera.
void through_camera(const View& view, Back& back, CameraSums* camera) {
    const Settings& set = view.set;
    const float* m = view.rows.to_camera;
    const Axes& axes = back.axes;
    const Lanes inv_z = back.inv_z, jx = set.fx * inv_z, jy = set.fy * inv_z, zero(0.0f);
    Lanes d_to_x[3], d_to_y[3], d_tan_x = zero, d_tan_y = zero, d_inv_z = zero;
    for (int j = 0; j < 3; j++) {
        d_to_x[j] = d_to_y[j] = zero;
        for (int k = 0; k < 3; k++) {
            const Lanes side = axes.scale[k] * axes.rotation[j][k];
            d_to_x[j] = fma(back.d_p[k], side, d_to_x[j]), d_to_y[j] = fma(back.d_q[k], side, d_to_y[j]);
        }
        d_tan_x = fnma(jx * m[8 + j], d_to_x[j], d_tan_x), d_tan_y = fnma(jy * m[8 + j], d_to_y[j], d_tan_y);
        d_inv_z = fma(axes.to_x[j], d_to_x[j], fma(axes.to_y[j], d_to_y[j], d_inv_z));
    }
    // to_x and to_y are proportional to 1 / z.
    d_inv_z = d_inv_z / inv_z;
    const auto inside = [](Lanes x, float low, float high) { return (x >= Lanes(low)) & (x <= Lanes(high)); };
    d_tan_x = keep(inside(back.tan_x, view.lim_x_low, view.lim_x_high), d_tan_x) + set.fx * back.d_x;
    d_tan_y = keep(inside(back.tan_y, view.lim_y_low, view.lim_y_high), d_tan_y) + set.fy * back.d_y;
    const Lanes d_camera_x = d_tan_x * inv_z, d_camera_y = d_tan_y * inv_z;
    // x / z moves with 1 / z by x, and 1 / z with z by -1 / z^2.
    const Lanes d_camera_z = back.sums[kDepth] - inv_z * fma(inv_z, d_inv_z, d_tan_x * back.tan_x + d_tan_y * back.tan_y);
    const Lanes d_camera[3] = {d_camera_x, d_camera_y, d_camera_z};
    const auto to_asset = [&](int k) {
        return fma(d_camera_x, Lanes(m[k]), fma(d_camera_y, Lanes(m[4 + k]), d_camera_z * m[8 + k]));
    };
    back.d_mean = {to_asset(0), to_asset(1), to_asset(2)};
    if (camera == nullptr) return;
    const Lanes mean[3] = {back.mean.x, back.mean.y, back.mean.z};
    for (int j = 0; j < 3; j++) {
        const Lanes through_x = jx * d_to_x[j], through_y = jy * d_to_y[j];
        const Lanes through_z = Lanes(0.0f) - fma(axes.tan_x, through_x, axes.tan_y * through_y);
        const Lanes through[3] = {through_x, through_y, through_z};
        for (int r = 0; r < 3; r++) {
            Lanes& sum = camera->of[4 * r + j];
            sum = sum + keep(back.alive, fma(d_camera[r], mean[j], through[r]));
        }
        camera->of[4 * j + 3] = camera->of[4 * j + 3] + keep(back.alive, d_camera[j]);
    }
}

void through_color(const View& view, const RowGradients& out, Back& back, CameraSums* camera) {
    const Lanes* s = back.sums;
    const Lanes d_rgb[3] = {s[kRed], s[kGreen], s[kBlue]};
    float* sh = out.sh != nullptr ? out.sh + static_cast<int64_t>(3) * view.rows.bases * back.row : nullptr;
    const Vec3 d = color_backward(view, back.row, back.count, back.mean, d_rgb, sh);
    back.d_mean = {back.d_mean.x + d.x, back.d_mean.y + d.y, back.d_mean.z + d.z};
    if (camera == nullptr) return;
    camera->of[12] = camera->of[12] - keep(back.alive, d.x);
    camera->of[13] = camera->of[13] - keep(back.alive, d.y);
    camera->of[14] = camera->of[14] - keep(back.alive, d.z);
}

void write_opacities(const View& view, const Back& back, float* out) {
    const Lanes stored = column(view.rows.opacities + back.row, 1, 0, back.count);
    // log(alpha) moves with log(opacity); above 1 an opacity counts as 1.
    put(back, keep(stored <= Lanes(1.0f), back.sums[kG] / stored), out, 1, 0);
}

// Lengths on the picture: of the gradient of the mean, and of its parts without their signs; and squares by alpha.
void write_norms(const Back& back, const RowGradients& out) {
    constexpr float kInvH = 1.0f / kHalfLog2E;
    if (out.norms != nullptr) put(back, sqrt(fma(back.d_x, back.d_x, back.d_y * back.d_y)), out.norms, 1, 0);
    if (out.squares != nullptr) put(back, back.sums[kSquares], out.squares, 1, 0);
    if (out.abs_norms == nullptr) return;
    const Lanes x = kInvH * (back.a * back.sums[kAbsX]), y = kInvH * back.sums[kAbsY];
    put(back, sqrt(fma(x, x, y * y)), out.abs_norms, 1, 0);
}

void write_features(const RasterState& state, const View& view, const Back& back, int64_t stride, float* out) {
    const int channels = view.set.channels;
    for (int i = 0; i < back.count; i++) {
        const int64_t row = back.row + i;
        const bool drawn = state.covers[view.rows.first + row].width != 0;
        const float* sums = state.row_gradients.data() + (view.rows.first + row) * stride + kLanes;
        for (int k = 0; k < channels; k++) out[row * channels + k] = drawn && stride > kLanes ? sums[k] : 0.0f;
    }
}

// Zeros for rows of which none was drawn.
void clear(const View& view, const RowGradients& out, int64_t row, int count) {
    const auto zero = [&](float* p, int64_t stride) {
        if (p != nullptr) std::fill_n(p + row * stride, count * stride, 0.0f);
    };
    zero(out.means, 3), zero(out.quats, 4), zero(out.scales, 3), zero(out.opacities, 1);
    zero(out.sh, 3 * static_cast<int64_t>(view.rows.bases)), zero(out.features, view.set.channels);
    zero(out.norms, 1), zero(out.abs_norms, 1), zero(out.squares, 1);
}

void project_block(const View& view, const RasterState& state, const RowGradients& out, int64_t stride, Back& back,
                   CameraSums* camera) {
    if (!load(view, state, stride, back)) return clear(view, out, back.row, back.count);
    place(view, back);
    through_outline(view, back);
    through_camera(view, back, camera);
    through_color(view, out, back, camera);
    if (out.means != nullptr) {
        put(back, back.d_mean.x, out.means, 3, 0);
        put(back, back.d_mean.y, out.means, 3, 1);
        put(back, back.d_mean.z, out.means, 3, 2);
    }
    if (out.quats != nullptr) write_quats(view, back, out.quats);
    if (out.scales != nullptr) write_scales(view, back, out.scales);
    if (out.opacities != nullptr) write_opacities(view, back, out.opacities);
    if (out.features != nullptr) write_features(state, view, back, stride, out.features);
    write_norms(back, out);
}

}  // namespace

bool project_backward(const Frame& frame, const RowGradients& out, int64_t stride, RasterState& state, Pool& pool) {
    const SceneRows& rows = frame.scenes.front();
    const View view = view_of(rows, frame.settings, state.grid);
    const int64_t chunks = (rows.count + kChunk - 1) / kChunk;
    double* parts = state.camera_parts.ensure(static_cast<size_t>(chunks * kCamera));
    const bool done = pool.run(chunks, frame.cancel, [&](int, int64_t chunk) {
        CameraSums camera;
        const int64_t end = std::min((chunk + 1) * kChunk, rows.count);
        for (int64_t row = chunk * kChunk; row < end; row += kLanes) {
            Back back;
            back.row = row, back.count = static_cast<int>(std::min<int64_t>(kLanes, end - row));
            project_block(view, state, out, stride, back, out.camera != nullptr ? &camera : nullptr);
        }
        for (int k = 0; k < kCamera; k++) parts[chunk * kCamera + k] = static_cast<double>(sum(camera.of[k]));
    });
    if (!done || out.camera == nullptr) return done;
    std::fill_n(out.camera, kCamera, 0.0);
    for (int64_t i = 0; i < chunks * kCamera; i++) out.camera[i % kCamera] += parts[i];
    return true;
}

}  // namespace h3d
