// Small fully connected networks without biases: ReLU between layers, none after the last.
//
// P points, layers of sizes I_0 -> O_0 = I_1 -> ... -> O; a weight matrix is [O, I], row-major. A packet of points goes
// through the whole network while its activations stay in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "pool.h"

namespace h3d {

struct MlpLayer {
    const float* weights = nullptr;  // [out, in]
    int in = 0, out = 0;
};

struct Mlp {
    std::vector<MlpLayer> layers;
};

// Each returns false when it was cancelled. `inputs` is [P, I], `out` and `grad_out` are [P, O].
bool mlp_forward(const Mlp& mlp, const float* inputs, int64_t count, float* out, Pool& pool, const Cancel& cancel);

// The gradients, all of them written: of the inputs ([P, I], null = not wanted) and of the weights of every layer (like
// the weights; empty = not wanted). The same bits at every number of threads.
bool mlp_backward(const Mlp& mlp, const float* inputs, int64_t count, const float* grad_out, float* grad_inputs,
                  const std::vector<float*>& grad_weights, Pool& pool, const Cancel& cancel);

}  // namespace h3d
