// The stages of the backward pass in a row, and what densification asks of a picture.
#include "gradients.h"

#include <algorithm>
#include <cmath>

namespace h3d {

bool rasterize_backward(const Frame& frame, const PictureGradients& picture, const RowGradients& out, RasterState& state,
                        Pool& pool) {
    const int64_t stride = sums_stride(picture.d_features != nullptr ? frame.settings.channels : 0);
    const size_t size = static_cast<size_t>(frame.rows() * stride);
    std::fill_n(state.row_gradients.ensure(size), size, 0.0f);
    Stats stats;
    // Only the entries of the last band are still there; where there were several, the lists are made again.
    const bool again = state.bands.size() > 1;
    if (again && !begin(frame, state, pool, stats)) return false;
    for (const Band band : state.bands) {
        if (again && !(bin(frame, state, pool, band) && sort(frame, state, pool, band))) return false;
        if (!blend_backward(frame, picture, state, pool, band)) return false;
    }
    return project_backward(frame, out, stride, state, pool);
}

void measure_radii(const Frame& frame, const RasterState& state, float* radii) {
    for (int64_t row = 0; row < frame.rows(); row++) {
        radii[row] = 0.0f;
        if (state.covers[row].width == 0) continue;
        const Splat& s = state.splats[row];
        // Never quite 0: a Gaussian whose opacity is 1/255 to the bit reaches its own centre only.
        const float root = std::sqrt(std::max(s.level + kLog2Cut, 1e-12f)), slope = s.b / s.c;
        radii[row] = root * std::max(std::sqrt(1.0f + slope * slope) / s.a, 1.0f / s.c);
    }
}

}  // namespace h3d
