// Blending the samples of each ray front to back, and the gradient of that.
//
// With x_i = density_i (t_end_i - t_start_i) and T_1 = 1:  alpha_i = 1 - exp(-x_i),  w_i = T_i alpha_i,
// T_(i+1) = T_i (1 - alpha_i).  The sums of w_i, w_i rgb_i and w_i t_i (t_i the middle) are what a ray sees.
// A ray stops before a sample once T is below `stop`: the samples from there on weigh nothing.
// Gradient: with g_i = dL/dw_i,  dL/dx_i = T_(i+1) g_i - sum over j > i of g_j w_j.
// Source: Max 1995; Müller et al. 2022 (the suffix sum).
#pragma once

#include <cstdint>

#include "pool.h"

namespace h3d {

struct RaySamples {
    const float* density = nullptr;   // [S]
    const float* rgb = nullptr;       // [S, 3]
    const float* t_starts = nullptr;  // [S]
    const float* t_ends = nullptr;    // [S]
    const int64_t* starts = nullptr;  // [R]
    const int64_t* counts = nullptr;  // [R]
    int64_t rays = 0;
};

// What the rays have seen so far: sums that a later call goes on with. Row r of the samples is row rows[r] here.
struct RaySums {
    float* rgb = nullptr;            // [_, 3] sum of w rgb
    float* alpha = nullptr;          // [_] sum of w
    float* depth = nullptr;          // [_] sum of w t
    float* transmittance = nullptr;  // [_] T; 1 where a ray begins
    int32_t* used = nullptr;         // [_] samples that were blended
    const int64_t* rows = nullptr;   // [R] or null
};

// `weights` [S] or null gets w. False when cancelled.
bool composite(const RaySamples& samples, float stop, const RaySums& sums, float* weights, Pool& pool,
               const Cancel& cancel);

// What of the forward pass the gradient needs, and dL over what it gave.
struct CompositeGradient {
    const float* weights = nullptr;        // [S]
    const float* transmittance = nullptr;  // [R]
    const int32_t* used = nullptr;         // [R]
    const float* of_rgb = nullptr;         // [R, 3]
    const float* of_alpha = nullptr;       // [R]
    const float* of_depth = nullptr;       // [R]
    const float* of_weights = nullptr;     // [S] or null
    float* to_density = nullptr;           // [S]
    float* to_rgb = nullptr;               // [S, 3]
};

void composite_backward(const RaySamples& samples, const CompositeGradient& gradient, Pool& pool);

}  // namespace h3d
