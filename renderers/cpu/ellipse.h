// Which tiles an ellipse touches: exact bounds row by row.
//
// A splat reaches where u^2 + v^2 <= reach, u = a dx + b dy, v = c dy. In a band of dy it spans, around the line
// dx = -(b / a) dy, a half width sqrt(reach - c^2 dy^2) / a; the widest places of the whole ellipse lie at known dy.
#pragma once

#include "raster.h"

namespace h3d {

// Bounds widen by this many pixels against rounding; a tile too many costs time only.
constexpr float kSlack = 0.01f;

struct TileSpan {
    int begin, end;  // end excluded
};

inline float reach_of(const Splat& s, Shape shape) { return shape == Shape::splats ? s.level + kLog2Cut : 1.0f; }

// Extremes of dx and dy over the ellipse, and the dy at which dx is largest.
struct Extent {
    float x, y, y_at_right;
};

// Tiles are counted by one stage and written by another, and both must find the same ones to the bit: so these live in
// a file of their own, where no caller's surroundings can change how they are rounded.
Extent extent_of(const Splat& s, float reach);
TileSpan rows_of(const Splat& s, const Extent& extent, const TileGrid& grid);
TileSpan columns_of(const Splat& s, const Extent& extent, float reach, const TileGrid& grid, int row);

// Calls visit(row, begin, end) for the tile columns touched in each tile row, relative to the grid.
template <class Visit>
inline void for_each_row(const Splat& s, float reach, const TileGrid& grid, Visit&& visit) {
    const Extent extent = extent_of(s, reach);
    const TileSpan rows = rows_of(s, extent, grid);
    for (int row = rows.begin; row < rows.end; row++) {
        const TileSpan columns = columns_of(s, extent, reach, grid, row);
        if (columns.begin < columns.end) visit(row, columns.begin, columns.end);
    }
}

}  // namespace h3d
