// Gradients of a picture to the Gaussians of its one scene and to its camera, in three stages: blend, gather, project.
//
// A tile is walked through from front to back once more. What is behind a splat is the pixel's final value less what has
// been passed, so neither a last index nor a division by the transmittance is needed. Each entry of a tile gets sums
// over its pixels; these are added up per row in the order of the tiles, and camera sums in the order of the rows:
// the same bits at any number of threads. Cuts (alpha below 1/255, finished pixels, clamps) are taken as they fell.
#pragma once

#include "raster.h"

namespace h3d {

// What came out, and the gradient of the loss with respect to it; null = none.
struct PictureGradients {
    const float* rgb = nullptr;            // [h, w, 3], as written by the forward pass, and so on
    const float* alpha = nullptr;          // [h, w]
    const float* depth = nullptr;          // [h, w] or null
    const float* features = nullptr;       // [h, w, D] or null
    const float* d_rgb = nullptr;          // [h, w, 3]
    const float* d_alpha = nullptr;        // [h, w]
    const float* d_depth = nullptr;        // [h, w]
    const float* d_features = nullptr;     // [h, w, D]
};

// Where the gradients go; each is written whole, zeros for rows that were not drawn. Null = not wanted.
struct RowGradients {
    float* means = nullptr;      // [N, 3]
    float* quats = nullptr;      // [N, 4]
    float* scales = nullptr;     // [N, 3]
    float* opacities = nullptr;  // [N]
    float* sh = nullptr;         // [N, K, 3]
    float* features = nullptr;   // [N, D]
    float* norms = nullptr;      // [N] length of the gradient of the mean on the picture, per pixel of movement
    float* abs_norms = nullptr;  // [N] the same of the sums of its absolute values over the pixels
    float* squares = nullptr;    // [N] sums over the pixels of (dL/dalpha)^2
    double* camera = nullptr;    // [15]: to_camera [3, 4], then eye [3]
};

// Sums over the pixels of an entry or row, with g = dL/dalpha alpha and u, v of Splat; features follow in groups of 16.
enum Sum { kG, kGu, kGv, kGuu, kGuv, kGvv, kRed, kGreen, kBlue, kAbsX, kAbsY, kDepth, kSquares };

// Floats of an entry's sums.
inline int64_t sums_stride(int channels) { return 16 * (1 + (channels + 15) / 16); }

// Blending: entry_gradients of the band, added to row_gradients. Its entries must be sorted.
bool blend_backward(const Frame& frame, const PictureGradients& picture, RasterState& state, Pool& pool, Band band);

// Projection and colour of all rows, from row_gradients with `stride` floats a row.
bool project_backward(const Frame& frame, const RowGradients& out, int64_t stride, RasterState& state, Pool& pool);

// All of it, after rasterize() of the same frame with the same state.
bool rasterize_backward(const Frame& frame, const PictureGradients& picture, const RowGradients& out, RasterState& state,
                        Pool& pool);

// Largest distance in pixels from each row's mean to where it ends, 0 where it was not drawn.
void measure_radii(const Frame& frame, const RasterState& state, float* radii);

}  // namespace h3d
