// A packet of points on its way through the layers of a small network.
//
// A packet is kPacket points, its activations one array a neuron: [neurons][kPacket]. Weights are broadcast against
// Lanes of points.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "buffer.h"
#include "lanes.h"
#include "mlp.h"

namespace h3d {

// Points a packet, and the block of sums that is held in registers: kRows neurons by kWide Lanes of points.
constexpr int kPacket = 64;
constexpr int kParts = kPacket / kLanes;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
constexpr int kRows = 6, kWide = 4;  // 24 sums, 4 inputs and a weight in 32 registers
#else
constexpr int kRows = 6, kWide = 1;  // 12 sums of eight, 2 inputs and a weight in 16 registers
#endif

using Neuron = float[kPacket];

inline int padded(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

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

inline void layer(const float* weights, int row, int column, int outputs, int inputs, const Neuron* in, Neuron* out,
           bool rectify) {
    for_rows(outputs, [&](auto size, int o) {
        layer_rows<decltype(size)::value>(weights + static_cast<int64_t>(o) * row, row, column, inputs, in, out + o,
                                          rectify);
    });
}

// Rows of points to arrays of neurons, [count, n] -> [n][kPacket]; missing points are zeros.
inline void to_neurons(const float* rows, int count, int n, Neuron* out) {
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
inline void to_rows(const Neuron* in, int count, int n, float* rows, int stride) {
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

inline int widest(const Mlp& mlp) {
    int n = 0;
    for (const MlpLayer& l : mlp.layers) n = std::max({n, l.in, l.out});
    return n;
}

inline Neuron* neurons(Buffer<float>& buffer, int count) {
    return reinterpret_cast<Neuron*>(buffer.ensure(static_cast<size_t>(count) * kPacket));
}

// All layers; activations[l] are the inputs of layer l, the last one the outputs.
inline void run_layers(const Mlp& mlp, const std::vector<Neuron*>& activations) {
    for (size_t l = 0; l < mlp.layers.size(); l++) {
        const MlpLayer& m = mlp.layers[l];
        layer(m.weights, m.in, 1, m.out, m.in, activations[l], activations[l + 1], l + 1 < mlp.layers.size());
    }
}

inline std::vector<Neuron*> place_activations(const Mlp& mlp, Buffer<float>& buffer) {
    int total = mlp.layers.front().in;
    for (const MlpLayer& l : mlp.layers) total += l.out;
    std::vector<Neuron*> places{neurons(buffer, total)};
    for (const MlpLayer& l : mlp.layers) places.push_back(places.back() + l.in);
    return places;
}

// The rectifier passes a gradient only where it passed the value.
inline void stop_at_zero(int n, const Neuron* activations, Neuron* gradient) {
    for (int i = 0; i < n; i++) {
        for (int part = 0; part < kPacket; part += kLanes) {
            const Mask open = Lanes::load(activations[i] + part) > Lanes(0.0f);
            keep(open, Lanes::load(gradient[i] + part)).store(gradient[i] + part);
        }
    }
}

}  // namespace h3d
