// Which tiles an ellipse touches: exact bounds row by row, for counting and for filling alike.
//
// A splat reaches where u^2 + v^2 <= reach, u = a dx + b dy, v = c dy. In a band of dy it spans, around the line
// dx = -(b / a) dy, a half width sqrt(reach - c^2 dy^2) / a; the widest places of the whole ellipse lie at known dy.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#include "raster.h"

namespace h3d {

// Bounds widen by this many pixels against rounding; a tile too many costs time only.
constexpr float kSlack = 0.01f;

struct TileSpan {
    int begin, end;  // end excluded
};

// Tiles of which a pixel centre lies in [low, high], clipped to `count` tiles from tile `origin` on.
inline TileSpan tiles_between(float low, float high, int origin, int count) {
    const float first = std::ceil((low - kSlack - (kTile - 0.5f)) * (1.0f / kTile)) - static_cast<float>(origin);
    const float last = std::floor((high + kSlack - 0.5f) * (1.0f / kTile)) - static_cast<float>(origin);
    const int begin = static_cast<int>(std::clamp(first, 0.0f, static_cast<float>(count)));
    const int end = static_cast<int>(std::clamp(last + 1.0f, 0.0f, static_cast<float>(count)));
    return {begin, std::max(begin, end)};
}

inline float reach_of(const Splat& s, Shape shape) { return shape == Shape::splats ? s.level + kLog2Cut : 1.0f; }

// Extremes of dx and dy over the ellipse, and the dy at which dx is largest.
struct Extent {
    float x, y, y_at_right;
};
inline Extent extent_of(const Splat& s, float reach) {
    const float root = std::sqrt(reach);
    const float slope = s.b / s.c;  // u is stationary in dy at v = -u b / c, so dx is largest there
    const float norm = std::sqrt(1.0f + slope * slope);
    return {root * norm / s.a, root / s.c, -root * slope / (s.c * norm)};
}

// Calls visit(row, begin, end) for the tile columns touched in each tile row, relative to the grid.
template <class Visit>
inline void for_each_row(const Splat& s, float reach, const TileGrid& grid, Visit&& visit) {
    const Extent extent = extent_of(s, reach);
    const TileSpan rows = tiles_between(s.y - extent.y, s.y + extent.y, grid.y0, grid.rows);
    const float inv_a = 1.0f / s.a, lean = -s.b * inv_a, c2 = s.c * s.c;
    for (int row = rows.begin; row < rows.end; row++) {
        const float top = static_cast<float>((grid.y0 + row) * kTile) + 0.5f - s.y;
        const float low = std::max(top, -extent.y), high = std::min(top + (kTile - 1), extent.y);
        const auto edge = [&](float dy, float side) {
            return lean * dy + side * std::sqrt(std::max(reach - c2 * dy * dy, 0.0f)) * inv_a;
        };
        const float right = edge(std::min(std::max(extent.y_at_right, low), high), 1.0f);
        const float left = edge(std::min(std::max(-extent.y_at_right, low), high), -1.0f);
        const TileSpan columns = tiles_between(s.x + left, s.x + right, grid.x0, grid.columns);
        if (columns.begin < columns.end) visit(row, columns.begin, columns.end);
    }
}

// Calls visit(tile) for every tile of the grid that the splat touches.
template <class Visit>
inline void for_each_tile(const Cover& cover, const Splat* splat, Shape shape, const TileGrid& grid, Visit&& visit) {
    if (cover.width == kLarge) {
        for_each_row(*splat, reach_of(*splat, shape), grid, [&](int row, int begin, int end) {
            const int64_t base = static_cast<int64_t>(row) * grid.columns;
            for (int column = begin; column < end; column++) visit(base + column);
        });
        return;
    }
    for (uint32_t mask = cover.mask; mask != 0; mask &= mask - 1) {
        const int bit = std::countr_zero(mask);
        visit(static_cast<int64_t>(cover.y + (bit >> 2)) * grid.columns + cover.x + (bit & 3));
    }
}

}  // namespace h3d
