// See mlp.h, and mlp_layers.h for a packet's way through the layers. For the gradient of the weights the inputs are
// turned to one array a point, so that no sum runs across the lanes.
#include "mlp.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "mlp_layers.h"

namespace h3d {
namespace {

constexpr int64_t kSlices = 64;  // partial sums of the weights' gradients, whatever the number of threads

// sums[o][i] += sum over points of grad[o][p] * in[p][i]; rows of `sums` and `in` are `stride` floats long.
void add_outer(const Neuron* grad, const float* in, int outputs, int stride, float* sums) {
    const auto block = [&](auto rows, auto wide, int o, int first) {
        constexpr int R = decltype(rows)::value, W = decltype(wide)::value;
        Lanes s[R][W];
        for (int r = 0; r < R; r++) {
            for (int j = 0; j < W; j++) {
                s[r][j] = Lanes::load(sums + static_cast<int64_t>(o + r) * stride + first + kLanes * j);
            }
        }
        for (int p = 0; p < kPacket; p++) {
            Lanes x[W];
            for (int j = 0; j < W; j++) {
                x[j] = Lanes::load(in + static_cast<int64_t>(p) * stride + first + kLanes * j);
                hold(x[j]);
            }
            for (int r = 0; r < R; r++) {
                const Lanes g(grad[o + r][p]);
                for (int j = 0; j < W; j++) s[r][j] = fma(g, x[j], s[r][j]);
            }
        }
        for (int r = 0; r < R; r++) {
            for (int j = 0; j < W; j++) {
                s[r][j].store(sums + static_cast<int64_t>(o + r) * stride + first + kLanes * j);
            }
        }
    };
    for_rows(outputs, [&](auto rows, int o) {
        int first = 0;
        for (; first + kLanes * kWide <= stride; first += kLanes * kWide) {
            block(rows, std::integral_constant<int, kWide>(), o, first);
        }
        if constexpr (kWide > 2) {
            if (first + 2 * kLanes <= stride) {
                block(rows, std::integral_constant<int, 2>(), o, first);
                first += 2 * kLanes;
            }
        }
        for (; first < stride; first += kLanes) block(rows, std::integral_constant<int, 1>(), o, first);
    });
}

// What one worker needs for one packet.
struct Workspace {
    Buffer<float> activations, gradients, rows;
};

// Where each layer's partial gradient begins in a slice; rows are padded to whole Lanes.
std::vector<int64_t> place_partials(const Mlp& mlp) {
    std::vector<int64_t> starts{0};
    for (const MlpLayer& l : mlp.layers) starts.push_back(starts.back() + static_cast<int64_t>(l.out) * padded(l.in));
    return starts;
}

// The gradients of one packet: the weights' are added to `partial`, the inputs' end up in gradients' first half.
class PacketGradient {
public:
    PacketGradient(const Mlp& mlp, Workspace& space, const std::vector<int64_t>& starts)
        : mlp_(mlp), starts_(starts), activations_(place_activations(mlp, space.activations)) {
        const int n = widest(mlp);
        gradient_ = neurons(space.gradients, 2 * n);
        next_ = gradient_ + n;
        rows_ = space.rows.ensure(static_cast<size_t>(kPacket) * padded(n));
    }

    void add(const float* inputs, const float* grad_out, int count, float* grad_inputs, float* partial) {
        const size_t last = mlp_.layers.size() - 1;
        to_neurons(inputs, count, mlp_.layers[0].in, activations_[0]);
        run_layers(mlp_, activations_);
        to_neurons(grad_out, count, mlp_.layers[last].out, gradient_);
        for (size_t l = last + 1; l-- > 0;) {
            const MlpLayer& m = mlp_.layers[l];
            if (partial != nullptr) add_weights(m, activations_[l], partial + starts_[l]);
            if (l == 0 && grad_inputs == nullptr) return;
            layer(m.weights, 1, m.in, m.in, m.out, gradient_, next_, false);
            std::swap(gradient_, next_);
            if (l > 0) stop_at_zero(m.in, activations_[l], gradient_);
        }
        to_rows(gradient_, count, mlp_.layers[0].in, grad_inputs, mlp_.layers[0].in);
    }

private:
    void add_weights(const MlpLayer& m, const Neuron* activations, float* sums) {
        const int stride = padded(m.in);
        if (stride != m.in) std::memset(rows_, 0, sizeof(float) * kPacket * stride);
        to_rows(activations, kPacket, m.in, rows_, stride);
        add_outer(gradient_, rows_, m.out, stride, sums);
    }
    const Mlp& mlp_;
    const std::vector<int64_t>& starts_;
    std::vector<Neuron*> activations_;
    Neuron *gradient_, *next_;
    float* rows_;
};

// The slices' sums, one after the other, without the padding.
void sum_slices(const Mlp& mlp, const std::vector<int64_t>& starts, const Buffer<float>& partials, int64_t slices,
                const std::vector<float*>& grad_weights) {
    for (size_t l = 0; l < mlp.layers.size(); l++) {
        const MlpLayer& m = mlp.layers[l];
        const int stride = padded(m.in);
        for (int o = 0; o < m.out; o++) {
            float* to = grad_weights[l] + static_cast<int64_t>(o) * m.in;
            std::fill(to, to + m.in, 0.0f);
            for (int64_t s = 0; s < slices; s++) {
                const float* from = partials.data() + s * starts.back() + starts[l] + static_cast<int64_t>(o) * stride;
                for (int i = 0; i < m.in; i++) to[i] += from[i];
            }
        }
    }
}

}  // namespace

bool mlp_forward(const Mlp& mlp, const float* inputs, int64_t count, float* out, Pool& pool, const Cancel& cancel) {
    constexpr int64_t packets_an_item = 8;
    const int64_t packets = (count + kPacket - 1) / kPacket;
    const int in = mlp.layers.front().in, outputs = mlp.layers.back().out;
    std::vector<Workspace> spaces(pool.threads());
    return pool.run((packets + packets_an_item - 1) / packets_an_item, cancel, [&](int worker, int64_t item) {
        const std::vector<Neuron*> activations = place_activations(mlp, spaces[worker].activations);
        for (int64_t p = item * packets_an_item; p < std::min(packets, (item + 1) * packets_an_item); p++) {
            const int64_t first = p * kPacket;
            const int n = static_cast<int>(std::min<int64_t>(kPacket, count - first));
            to_neurons(inputs + first * in, n, in, activations.front());
            run_layers(mlp, activations);
            to_rows(activations.back(), n, outputs, out + first * outputs, outputs);
        }
    });
}

bool mlp_backward(const Mlp& mlp, const float* inputs, int64_t count, const float* grad_out, float* grad_inputs,
                  const std::vector<float*>& grad_weights, Pool& pool, const Cancel& cancel) {
    const int in = mlp.layers.front().in, outputs = mlp.layers.back().out;
    const int64_t packets = (count + kPacket - 1) / kPacket, slices = std::min(kSlices, packets);
    const std::vector<int64_t> starts = place_partials(mlp);
    const bool wanted = !grad_weights.empty();
    Buffer<float> partials;
    if (wanted) partials.ensure(static_cast<size_t>(slices * starts.back()));
    std::vector<Workspace> spaces(pool.threads());
    const bool done = pool.run(slices, cancel, [&](int worker, int64_t slice) {
        float* partial = wanted ? partials.data() + slice * starts.back() : nullptr;
        if (wanted) std::fill(partial, partial + starts.back(), 0.0f);
        PacketGradient gradient(mlp, spaces[worker], starts);
        for (int64_t p = packets * slice / slices; p < packets * (slice + 1) / slices; p++) {
            const int64_t first = p * kPacket;
            const int n = static_cast<int>(std::min<int64_t>(kPacket, count - first));
            gradient.add(inputs + first * in, grad_out + first * outputs, n,
                         grad_inputs == nullptr ? nullptr : grad_inputs + first * in, partial);
        }
    });
    if (done && wanted) sum_slices(mlp, starts, partials, slices, grad_weights);
    return done;
}

}  // namespace h3d
