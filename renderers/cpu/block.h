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

// Unit vectors from the eye to the means, and one over their distances.
inline Vec3 direction_to(const View& view, const Vec3& mean, Lanes& inv) {
    const float* eye = view.rows.eye;
    const Lanes x = mean.x - eye[0], y = mean.y - eye[1], z = mean.z - eye[2];
    inv = Lanes(1.0f) / sqrt(fma(x, x, fma(y, y, z * z)));
    return {x * inv, y * inv, z * inv};
}

// Gradients of `count` rows' SH colours: to sh ([count, K, 3], null = not wanted), written whole, and to the means.
// d_rgb is 0 where a colour was clamped or a row not drawn.
Vec3 color_backward(const View& view, int64_t row, int count, const Vec3& mean, const Lanes (&d_rgb)[3], float* sh);

// The tiles that each live row touches, written to `covers` and added to the chunk's counts. A row's box may turn out
// to be empty of tiles; then it is dropped.
void cover(const View& view, Block& block, const Splat* splats, Cover* covers, uint32_t* counts);

}  // namespace h3d
