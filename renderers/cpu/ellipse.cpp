#include "ellipse.h"

#include <algorithm>
#include <cmath>

namespace h3d {
namespace {

// Tiles of which a pixel centre lies in [low, high], clipped to `count` tiles from tile `origin` on.
TileSpan tiles_between(float low, float high, int origin, int count) {
    const float first = std::ceil((low - kSlack - (kTile - 0.5f)) * (1.0f / kTile)) - static_cast<float>(origin);
    const float last = std::floor((high + kSlack - 0.5f) * (1.0f / kTile)) - static_cast<float>(origin);
    const int begin = static_cast<int>(std::clamp(first, 0.0f, static_cast<float>(count)));
    const int end = static_cast<int>(std::clamp(last + 1.0f, 0.0f, static_cast<float>(count)));
    return {begin, std::max(begin, end)};
}

}  // namespace

Extent extent_of(const Splat& s, float reach) {
    const float root = std::sqrt(reach);
    const float slope = s.b / s.c;  // u is stationary in dy at v = -u b / c, so dx is largest there
    const float norm = std::sqrt(1.0f + slope * slope);
    return {root * norm / s.a, root / s.c, -root * slope / (s.c * norm)};
}

TileSpan rows_of(const Splat& s, const Extent& extent, const TileGrid& grid) {
    return tiles_between(s.y - extent.y, s.y + extent.y, grid.y0, grid.rows);
}

TileSpan columns_of(const Splat& s, const Extent& extent, float reach, const TileGrid& grid, int row) {
    const float inv_a = 1.0f / s.a, lean = -s.b * inv_a, c2 = s.c * s.c;
    const float top = static_cast<float>((grid.y0 + row) * kTile) + 0.5f - s.y;
    const float low = std::max(top, -extent.y), high = std::min(top + (kTile - 1), extent.y);
    const auto edge = [&](float dy, float side) {
        dy = std::min(std::max(dy, low), high);
        return lean * dy + side * std::sqrt(std::max(reach - c2 * dy * dy, 0.0f)) * inv_a;
    };
    const float right = edge(extent.y_at_right, 1.0f), left = edge(-extent.y_at_right, -1.0f);
    return tiles_between(s.x + left, s.x + right, grid.x0, grid.columns);
}

}  // namespace h3d
