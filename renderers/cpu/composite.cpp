#include "composite.h"

#include <algorithm>
#include <cstring>

#include "opacity.h"

namespace h3d {
namespace {

constexpr int64_t kRays = 256;  // of a pool's item

// alpha of the samples from `first` to `last`, written to a scratch that starts at 0.
void alphas(const RaySamples& s, int64_t first, int64_t last, float* out) {
    alignas(64) float x[kLanes];
    for (int64_t i = first; i < last; i += kLanes) {
        const int count = static_cast<int>(std::min<int64_t>(kLanes, last - i));
        for (int k = 0; k < kLanes; k++) x[k] = 0.0f;
        for (int k = 0; k < count; k++) x[k] = s.density[i + k] * (s.t_ends[i + k] - s.t_starts[i + k]);
        alpha_of(Lanes::load(x)).store(x);
        std::memcpy(out + (i - first), x, sizeof(float) * static_cast<size_t>(count));
    }
}

void blend_ray(const RaySamples& s, int64_t ray, float stop, const float* alpha, const RaySums& sums, float* weights) {
    const int64_t row = sums.rows != nullptr ? sums.rows[ray] : ray, first = s.starts[ray], count = s.counts[ray];
    float T = sums.transmittance[row], total = sums.alpha[row], depth = sums.depth[row];
    float color[3] = {sums.rgb[3 * row], sums.rgb[3 * row + 1], sums.rgb[3 * row + 2]};
    int64_t i = 0;
    for (; i < count && !(T < stop); i++) {
        const int64_t at = first + i;
        const float w = T * alpha[i];
        T *= 1.0f - alpha[i];
        total += w;
        depth += w * (0.5f * (s.t_starts[at] + s.t_ends[at]));
        for (int c = 0; c < 3; c++) color[c] += w * s.rgb[3 * at + c];
        if (weights != nullptr) weights[at] = w;
    }
    if (weights != nullptr) std::fill(weights + first + i, weights + first + count, 0.0f);
    sums.transmittance[row] = T, sums.alpha[row] = total, sums.depth[row] = depth;
    for (int c = 0; c < 3; c++) sums.rgb[3 * row + c] = color[c];
    sums.used[row] += static_cast<int32_t>(i);
}

void backward_ray(const RaySamples& s, int64_t ray, const CompositeGradient& g) {
    const int64_t first = s.starts[ray], count = s.counts[ray];
    const float* of_rgb = g.of_rgb + 3 * ray;
    float T = g.transmittance[ray], suffix = 0.0f;
    int64_t i = count - 1;
    for (; i >= g.used[ray]; i--) {
        g.to_density[first + i] = 0.0f;
        for (int c = 0; c < 3; c++) g.to_rgb[3 * (first + i) + c] = 0.0f;
    }
    for (; i >= 0; i--) {
        const int64_t at = first + i;
        const float w = g.weights[at], t = 0.5f * (s.t_starts[at] + s.t_ends[at]);
        float slope = g.of_alpha[ray] + g.of_depth[ray] * t;
        if (g.of_weights != nullptr) slope += g.of_weights[at];
        for (int c = 0; c < 3; c++) {
            slope += of_rgb[c] * s.rgb[3 * at + c];
            g.to_rgb[3 * at + c] = w * of_rgb[c];
        }
        g.to_density[at] = (s.t_ends[at] - s.t_starts[at]) * (T * slope - suffix);
        suffix += slope * w;
        T += w;
    }
}

}  // namespace

bool composite(const RaySamples& samples, float stop, const RaySums& sums, float* weights, Pool& pool,
               const Cancel& cancel) {
    return pool.run((samples.rays + kRays - 1) / kRays, cancel, [&](int, int64_t item) {
        // A ray's samples at a time: the scratch stays in the first cache.
        constexpr int64_t kScratch = 1024;
        float scratch[kScratch];
        std::vector<float> large;
        for (int64_t ray = kRays * item; ray < std::min(samples.rays, kRays * (item + 1)); ray++) {
            const int64_t first = samples.starts[ray], count = samples.counts[ray];
            float* alpha = scratch;
            if (count > kScratch) {
                large.resize(static_cast<size_t>(count));
                alpha = large.data();
            }
            alphas(samples, first, first + count, alpha);
            blend_ray(samples, ray, stop, alpha, sums, weights);
        }
    });
}

void composite_backward(const RaySamples& samples, const CompositeGradient& gradient, Pool& pool) {
    pool.run((samples.rays + kRays - 1) / kRays, Cancel(), [&](int, int64_t item) {
        for (int64_t ray = kRays * item; ray < std::min(samples.rays, kRays * (item + 1)); ray++) {
            backward_ray(samples, ray, gradient);
        }
    });
}

}  // namespace h3d
