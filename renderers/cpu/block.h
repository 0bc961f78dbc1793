// Sixteen Gaussians on their way through the projection, and what is the same for all rows of their scene.
#pragma once

#include "lanes.h"
#include "raster.h"

namespace h3d {

using Row = float[kLanes];

struct Vec3 {
    Lanes x, y, z;
};

struct View {
    const SceneRows& rows;
    const Settings& set;
    const TileGrid& grid;
    float lim_x_low, lim_x_high, lim_y_low, lim_y_high;  // of x / z and y / z in the Jacobian
    int bases;                                           // SH bases to evaluate
};

struct Block {
    int64_t row;  // in the scene
    int count;
    Mask alive;   // still to be drawn
    Vec3 mean;    // in the asset's frame
    Lanes x, y, z, a, b, c, level;  // see Splat
    Lanes reach;                    // u^2 + v^2 where the splat ends
    Lanes half_height, y_at_right;  // largest dy, and dy where dx is largest
    Lanes left, right, top, bottom;  // box of tiles, ends excluded
};

// Colours of the live rows, SH or normals; rows whose colour is not finite are dropped.
void color(const View& view, Block& block, Row rgb[3]);

// The tiles that each live row touches, written to `covers` and added to the chunk's counts. A row's box may turn out
// to be empty of tiles; then it is dropped.
void cover(const View& view, Block& block, const Splat* splats, Cover* covers, uint32_t* counts);

}  // namespace h3d
