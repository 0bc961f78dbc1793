// Stage 1: sixteen Gaussians at a time to camera space, screen space and colour; counts the tiles they touch.
//
// EWA: the 2D covariance is A A^T + eps2d I with A = J M R S (2 x 3; J the Jacobian of the perspective at the mean, its
// angles clamped to 1.3 times the field of view). det(A A^T) is taken as the sum of squared 2 x 2 minors, which keeps
// its digits for needles where the textbook difference loses them all. A row with a NaN or an infinity anywhere fails
// one of the comparisons below and is not drawn: comparisons are written so that NaN is on the losing side.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "axes.h"
#include "block.h"
#include "ellipse.h"

namespace h3d {
namespace {

constexpr float kOutline = 2.0f;            // standard deviations to the outline of ellipsoids and rings
constexpr float kSolidOpacity = 0.2f;       // fainter Gaussians are not drawn as ellipsoids: they would hide the rest
constexpr float kHuge = 1e30f;

// Rows that may be drawn as far as opacity and depth tell, with their camera-space means.
bool place(const View& view, Block& block, Vec3& camera, Lanes& opacity) {
    const SceneRows& rows = view.rows;
    const int n = block.count;
    const float* means = rows.means + 3 * block.row;
    const float* m = rows.to_camera;
    block.mean = {column(means, 3, 0, n), column(means, 3, 1, n), column(means, 3, 2, n)};
    const auto turned = [&](int r) {
        return fma(Lanes(m[4 * r]), block.mean.x,
                   fma(Lanes(m[4 * r + 1]), block.mean.y, fma(Lanes(m[4 * r + 2]), block.mean.z, Lanes(m[4 * r + 3]))));
    };
    camera.z = turned(2);
    const Lanes stored = column(rows.opacities + block.row, 1, 0, n);
    opacity = min(stored, Lanes(1.0f));
    const float least = view.set.shape == Shape::ellipsoids ? kSolidOpacity : kMinOpacity;
    block.alive = (camera.z > Lanes(view.set.near_plane)) & (camera.z < Lanes(view.set.far_plane)) &
                  (stored >= Lanes(least)) & (stored < Lanes(kHuge));
    if (rows.visible != nullptr) {
        uint32_t shown = 0;
        for (int i = 0; i < n; i++) shown |= static_cast<uint32_t>(rows.visible[block.row + i] != 0) << i;
        block.alive = block.alive & Mask::from_bits(shown);
    }
    if (!any(block.alive)) return false;
    camera.x = turned(0);
    camera.y = turned(1);
    block.z = camera.z;
    return true;
}

// The ellipse's a, b, c and level; see Splat.
void outline(const View& view, const Axes& axes, Lanes opacity, Block& block) {
    const Lanes *p = axes.p, *q = axes.q;
    const Lanes eps(view.set.eps2d);
    const Lanes sxx = fma(p[0], p[0], fma(p[1], p[1], p[2] * p[2]));
    const Lanes syy = fma(q[0], q[0], fma(q[1], q[1], q[2] * q[2]));
    const Lanes sxy = fma(p[0], q[0], fma(p[1], q[1], p[2] * q[2]));
    const Lanes m01 = p[0] * q[1] - p[1] * q[0], m02 = p[0] * q[2] - p[2] * q[0], m12 = p[1] * q[2] - p[2] * q[1];
    const Lanes sharp = fma(m01, m01, fma(m02, m02, m12 * m12));
    const Lanes det = sharp + eps * (sxx + syy + eps);
    const Lanes cyy = syy + eps;
    const Lanes half(view.set.shape == Shape::splats ? kHalfLog2E : 1.0f / (kOutline * kOutline));
    block.a = sqrt(half * (cyy / det));
    block.b = Lanes(0.0f) - block.a * (sxy / cyy);
    block.c = sqrt(half / cyy);
    if (view.set.antialiased) opacity = opacity * sqrt(sharp / det);
    if (view.set.shape == Shape::splats) {
        block.alive = block.alive & (opacity >= Lanes(kMinOpacity));
        block.level = log2(max(opacity, Lanes(kMinOpacity)));
    } else {
        block.level = opacity;
    }
}

void disc(const View& view, Block& block) {
    // Half a pixel more than the radius: the edge fades over one pixel.
    const float radius = 0.5f * view.set.point_size + 0.5f;
    block.a = block.c = Lanes(1.0f / radius);
    block.b = Lanes(0.0f);
    block.level = Lanes(radius);
}

// The box of tiles; rows outside the picture, and rows with a NaN, end here.
void clip(const View& view, Block& block) {
    const TileGrid& grid = view.grid;
    const Lanes zero(0.0f), huge(kHuge);
    block.reach = view.set.shape == Shape::splats ? max(block.level + kLog2Cut, zero) : Lanes(1.0f);
    // Where u is stationary in dy, v = -u b / c: that is the rightmost point, see extent_of().
    const Lanes root = sqrt(block.reach), slope = block.b / block.c, norm = sqrt(fma(slope, slope, Lanes(1.0f)));
    const Lanes ex = root * norm / block.a, ey = root / block.c;
    block.half_height = ey;
    block.y_at_right = Lanes(0.0f) - ey * slope / norm;
    block.alive = block.alive & (abs(block.x) < huge) & (abs(block.y) < huge) & (abs(slope) < huge) & (ex < huge) &
                  (ey < huge) & (block.a > zero) & (block.c > zero);
    const auto first = [](Lanes low, int origin, int count) {
        const Lanes tile = ceil((low - (kSlack + kTile - 0.5f)) * (1.0f / kTile)) - static_cast<float>(origin);
        return min(max(tile, Lanes(0.0f)), Lanes(static_cast<float>(count)));
    };
    const auto last = [](Lanes high, int origin, int count) {
        const Lanes tile = floor((high + (kSlack - 0.5f)) * (1.0f / kTile)) - static_cast<float>(origin - 1);
        return min(max(tile, Lanes(0.0f)), Lanes(static_cast<float>(count)));
    };
    block.left = first(block.x - ex, grid.x0, grid.columns);
    block.right = last(block.x + ex, grid.x0, grid.columns);
    block.top = first(block.y - ey, grid.y0, grid.rows);
    block.bottom = last(block.y + ey, grid.y0, grid.rows);
    block.alive = block.alive & (block.left < block.right) & (block.top < block.bottom);
}

void drop_rows_with_bad_features(const View& view, Block& block) {
    const int channels = view.set.channels;
    uint32_t alive = bits(block.alive);
    for (uint32_t left = alive; left != 0; left &= left - 1) {
        const int i = std::countr_zero(left);
        const float* f = view.rows.features + (block.row + i) * channels;
        bool fine = true;
        for (int k = 0; k < channels; k++) fine &= std::fabs(f[k]) < kHuge;
        if (!fine) alive &= ~(1u << i);
    }
    block.alive = Mask::from_bits(alive);
}

// Splats, depths and covers of the block's rows; returns how many are drawn.
int write(const View& view, Block& block, Row rgb[3], RasterState& state, uint32_t* counts) {
    alignas(64) Row x, y, z, a, b, c, level;
    block.x.store(x), block.y.store(y), block.z.store(z);
    block.a.store(a), block.b.store(b), block.c.store(c), block.level.store(level);
    const int64_t first = view.rows.first + block.row;
    std::memcpy(state.depths.data() + first, z, sizeof(float) * block.count);
    Splat* splats = state.splats.data() + first;
    for (uint32_t todo = bits(block.alive); todo != 0; todo &= todo - 1) {
        const int i = std::countr_zero(todo);
        splats[i] = {x[i], y[i], a[i], b[i], c[i], level[i], {rgb[0][i], rgb[1][i], rgb[2][i]}};
    }
    cover(view, block, splats, state.covers.data() + first, counts);
    return std::popcount(bits(block.alive));
}

int project_block(const View& view, Block& block, RasterState& state, uint32_t* counts) {
    Vec3 camera;
    Lanes opacity;
    alignas(64) Row rgb[3] = {};
    if (place(view, block, camera, opacity)) {
        const Lanes inv_z = Lanes(1.0f) / camera.z;
        block.x = fma(Lanes(view.set.fx), camera.x * inv_z, Lanes(view.set.cx));
        block.y = fma(Lanes(view.set.fy), camera.y * inv_z, Lanes(view.set.cy));
        if (view.set.shape == Shape::points) {
            disc(view, block);
        } else {
            outline(view, project_axes(view, block.row, block.count, camera, inv_z), opacity, block);
        }
        clip(view, block);
    }
    if (any(block.alive) && view.rows.features != nullptr) drop_rows_with_bad_features(view, block);
    if (any(block.alive)) color(view, block, rgb);
    if (any(block.alive)) return write(view, block, rgb, state, counts);
    std::memset(state.covers.data() + view.rows.first + block.row, 0, sizeof(Cover) * block.count);
    return 0;
}

}  // namespace

bool project(const Frame& frame, RasterState& state, Pool& pool, Stats& stats) {
    std::atomic<int64_t> visible{0};
    const int64_t chunks = static_cast<int64_t>(state.chunk_starts.size()) - 1;
    const bool done = pool.run(chunks, frame.cancel, [&](int, int64_t chunk) {
        uint32_t* counts = state.counts.data() + chunk * state.grid.size();
        std::memset(counts, 0, sizeof(uint32_t) * state.grid.size());
        int64_t drawn = 0;
        for (const SceneRows& rows : frame.scenes) {
            const View view = view_of(rows, frame.settings, state.grid);
            const int64_t begin = std::max(state.chunk_starts[chunk] - rows.first, int64_t{0});
            const int64_t end = std::min(state.chunk_starts[chunk + 1] - rows.first, rows.count);
            for (int64_t row = begin; row < end; row += kLanes) {
                Block block{};
                block.row = row;
                block.count = static_cast<int>(std::min<int64_t>(kLanes, end - row));
                drawn += project_block(view, block, state, counts);
            }
        }
        visible += drawn;
    });
    stats.visible = visible;
    return done;
}

}  // namespace h3d
