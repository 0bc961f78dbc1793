// See mlp.h. A packet is kPacket points, its activations one array a neuron: [neurons][kPacket]. Weights are broadcast
// against Lanes of points. For the gradient of the weights the inputs are turned to one array a point, so that no sum
// runs across the lanes.
#include "mlp.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "buffer.h"
#include "lanes.h"

namespace h3d {
namespace {

// Points a packet, and the block of sums that is held in registers: kRows neurons by kWide Lanes of points.
constexpr int kPacket = 64;
constexpr int kParts = kPacket / kLanes;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
constexpr int kRows = 6, kWide = 4;  // 24 sums, 4 inputs and a weight in 32 registers
#else
constexpr int kRows = 6, kWide = 1;  // 12 sums of eight, 2 inputs and a weight in 16 registers
#endif

constexpr int64_t kSlices = 64;  // partial sums of the weights' gradients, whatever the number of threads

using Neuron = float[kPacket];

int padded(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Keeps the compiler from reading a value from memory again at every use: loads are what limits these loops.
inline void hold(Lanes& a) {
#if defined(__AVX512F__) && defined(__AVX512DQ__) && (defined(__GNUC__) || defined(__clang__))
    __asm__("" : "+v"(a.v));
#else
    (void)a;
#endif
}

// Calls rows(constant R, first) over [0, n) with as many rows at a time as the registers hold.
template <class Rows>
inline void for_rows(int n, Rows&& rows) {
    int o = 0;
    for (; o + kRows <= n; o += kRows) rows(std::integral_constant<int, kRows>(), o);
    switch (n - o) {
        case 5: return rows(std::integral_constant<int, 5>(), o);
        case 4: return rows(std::integral_constant<int, 4>(), o);
        case 3: return rows(std::integral_constant<int, 3>(), o);
        case 2: return rows(std::integral_constant<int, 2>(), o);
        case 1: return rows(std::integral_constant<int, 1>(), o);
        default: return;
    }
}
static_assert(kRows == 6, "for_rows lists what is left of six rows");

// One block of a product: sums[r][:] = sum over k of a(r, k) * b[k][:], for R rows and kWide Lanes from `column`.
template <int R, class A>
inline void block_product(int depth, A&& a, const float* b, int stride, Lanes (&sums)[R][kWide]) {
    for (int r = 0; r < R; r++) {
        for (int j = 0; j < kWide; j++) sums[r][j] = Lanes(0.0f);
    }
    for (int k = 0; k < depth; k++) {
        Lanes x[kWide];
        for (int j = 0; j < kWide; j++) {
            x[j] = Lanes::load(b + static_cast<int64_t>(k) * stride + kLanes * j);
            hold(x[j]);
        }
        for (int r = 0; r < R; r++) {
            const Lanes w(a(r, k));
            for (int j = 0; j < kWide; j++) sums[r][j] = fma(w, x[j], sums[r][j]);
        }
    }
}

// out[o] = sum over i of w(o, i) * in[i], rectified if asked for; w(o, i) = weights[o * row + i * column].
template <int R>
inline void layer_rows(const float* weights, int row, int column, int inputs, const Neuron* in, Neuron* out,
                       bool rectify) {
    for (int part = 0; part < kParts; part += kWide) {
        Lanes sums[R][kWide];
        block_product<R>(
            inputs, [&](int r, int k) { return weights[r * row + k * column]; }, in[0] + kLanes * part, kPacket, sums);
        for (int r = 0; r < R; r++) {
            for (int j = 0; j < kWide; j++) {
                const Lanes s = rectify ? max(Lanes(0.0f), sums[r][j]) : sums[r][j];  // NaN stays NaN.
                s.store(out[r] + kLanes * (part + j));
            }
        }
    }
}

void layer(const float* weights, int row, int column, int outputs, int inputs, const Neuron* in, Neuron* out,
           bool rectify) {
    for_rows(outputs, [&](auto size, int o) {
        layer_rows<decltype(size)::value>(weights + static_cast<int64_t>(o) * row, row, column, inputs, in, out + o,
                                          rectify);
    });
}

// Rows of points to arrays of neurons, [count, n] -> [n][kPacket]; missing points are zeros.
void to_neurons(const float* rows, int count, int n, Neuron* out) {
    alignas(64) float tile[kLanes][kLanes];
    for (int first = 0; first < n; first += kLanes) {
        const int columns = std::min(kLanes, n - first);
        for (int part = 0; part < kParts; part++) {
            for (int i = 0; i < kLanes; i++) {
                const int p = kLanes * part + i;
                if (p < count && columns == kLanes) {
                    std::memcpy(tile[i], rows + static_cast<int64_t>(p) * n + first, sizeof tile[i]);
                } else {
                    for (int c = 0; c < kLanes; c++) {
                        tile[i][c] = p < count && c < columns ? rows[static_cast<int64_t>(p) * n + first + c] : 0.0f;
                    }
                }
            }
            transpose(tile);
            for (int c = 0; c < columns; c++) std::memcpy(out[first + c] + kLanes * part, tile[c], sizeof tile[c]);
        }
    }
}

// Arrays of neurons to rows of `stride` floats a point; the inverse of to_neurons where stride is n.
void to_rows(const Neuron* in, int count, int n, float* rows, int stride) {
    alignas(64) float tile[kLanes][kLanes];
    for (int first = 0; first < n; first += kLanes) {
        const int columns = std::min(kLanes, n - first);
        for (int part = 0; part * kLanes < count; part++) {
            for (int c = 0; c < kLanes; c++) {
                if (c < columns) {
                    std::memcpy(tile[c], in[first + c] + kLanes * part, sizeof tile[c]);
                } else {
                    std::memset(tile[c], 0, sizeof tile[c]);
                }
            }
            transpose(tile);
            for (int i = 0; i < kLanes && kLanes * part + i < count; i++) {
                float* to = rows + static_cast<int64_t>(kLanes * part + i) * stride + first;
                std::memcpy(to, tile[i], sizeof(float) * columns);
            }
        }
    }
}

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

int widest(const Mlp& mlp) {
    int n = 0;
    for (const MlpLayer& l : mlp.layers) n = std::max({n, l.in, l.out});
    return n;
}

Neuron* neurons(Buffer<float>& buffer, int count) {
    return reinterpret_cast<Neuron*>(buffer.ensure(static_cast<size_t>(count) * kPacket));
}

// What one worker needs for one packet.
struct Workspace {
    Buffer<float> activations, gradients, rows;
};

// All layers; activations[l] are the inputs of layer l, the last one the outputs.
void run_layers(const Mlp& mlp, const std::vector<Neuron*>& activations) {
    for (size_t l = 0; l < mlp.layers.size(); l++) {
        const MlpLayer& m = mlp.layers[l];
        layer(m.weights, m.in, 1, m.out, m.in, activations[l], activations[l + 1], l + 1 < mlp.layers.size());
    }
}

std::vector<Neuron*> place_activations(const Mlp& mlp, Buffer<float>& buffer) {
    int total = mlp.layers.front().in;
    for (const MlpLayer& l : mlp.layers) total += l.out;
    std::vector<Neuron*> places{neurons(buffer, total)};
    for (const MlpLayer& l : mlp.layers) places.push_back(places.back() + l.in);
    return places;
}

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
            if (l > 0) stop_at_zero(m.in, activations_[l]);
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
    // The rectifier passes a gradient only where it passed the value.
    void stop_at_zero(int n, const Neuron* activations) {
        for (int i = 0; i < n; i++) {
            for (int part = 0; part < kPacket; part += kLanes) {
                const Mask open = Lanes::load(activations[i] + part) > Lanes(0.0f);
                keep(open, Lanes::load(gradient_[i] + part)).store(gradient_[i] + part);
            }
        }
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
