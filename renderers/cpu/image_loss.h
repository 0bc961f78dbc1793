// L1 and structural similarity of two pictures, and the gradient of their loss to the first.
//
// loss = (1 - share) * mean |x - y| + share * (1 - mean SSIM(x, y)) over H x W pixels of C channels, one window a pixel
// with zeros outside. Two sweeps, a row at a time: the first blurs what SSIM needs, down the columns and then along the
// row while it lies in the nearest cache, and keeps the three slopes of SSIM; the second blurs these, since a symmetric
// window is its own adjoint. Sums are kept a row and added in order: the same bits at every number of threads.
// Source: Wang et al. 2004; Kerbl et al. 2023, eq. 7.
#pragma once

#include <cstdint>

#include "pool.h"

namespace h3d {

struct PicturePair {
    const float *rendered = nullptr, *target = nullptr;  // [H, W, C]
    int64_t height = 0, width = 0;
    int channels = 3;
};

struct Likeness {
    double l1 = 0.0, ssim = 0.0;  // means over pixels and channels
};

// Floats that image_loss needs for the slopes between its sweeps.
int64_t slope_floats(const PicturePair& pair);

// `slopes` (64-byte aligned) and `gradient` [H, W, C] are both null where no gradient is wanted.
Likeness image_loss(const PicturePair& pair, float ssim_share, float* slopes, float* gradient, Pool& pool);

}  // namespace h3d
