// Lanes as four vectors of four, in the vector extensions of GCC and Clang: NEON, SSE2, VSX, RVV, whatever is there.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

namespace h3d {

using Quad = float __attribute__((vector_size(16)));
using QuadMask = int32_t __attribute__((vector_size(16)));
constexpr int kQuads = 4;

// All ones or all zeros a lane.
struct Mask {
    QuadMask q[kQuads];
    static Mask from_bits(uint32_t bits) {
        Mask a;
        for (int i = 0; i < kQuads; i++) {
            const int32_t b = static_cast<int32_t>(bits >> (4 * i));
            a.q[i] = (QuadMask{b, b, b, b} & QuadMask{1, 2, 4, 8}) != 0;
        }
        return a;
    }
};

struct Lanes {
    Quad q[kQuads];
    Lanes() = default;
    explicit Lanes(float x) {
        for (Quad& a : q) a = Quad{x, x, x, x};
    }
    static Lanes load(const float* p) {  // 16-byte aligned
        Lanes a;
        for (int i = 0; i < kQuads; i++) a.q[i] = *reinterpret_cast<const Quad*>(p + 4 * i);
        return a;
    }
    void store(float* p) const {
        for (int i = 0; i < kQuads; i++) *reinterpret_cast<Quad*>(p + 4 * i) = q[i];
    }
};

template <class F>
inline Lanes each(F f) {
    Lanes a;
    for (int i = 0; i < kQuads; i++) a.q[i] = f(i);
    return a;
}
template <class F>
inline Mask where(F f) {
    Mask a;
    for (int i = 0; i < kQuads; i++) a.q[i] = f(i);
    return a;
}
inline Quad choose(QuadMask m, Quad a, Quad b) {
    return std::bit_cast<Quad>((std::bit_cast<QuadMask>(a) & m) | (std::bit_cast<QuadMask>(b) & ~m));
}

inline uint32_t bits(Mask a) {
    QuadMask m = a.q[0] & QuadMask{1, 2, 4, 8};
    for (int i = 1; i < kQuads; i++) m |= a.q[i] & QuadMask{1 << 4 * i, 2 << 4 * i, 4 << 4 * i, 8 << 4 * i};
    return static_cast<uint32_t>(m[0] | m[1] | m[2] | m[3]);
}
inline bool any(Mask a) {
    using Halves = int64_t __attribute__((vector_size(16)));
    const auto m = std::bit_cast<Halves>((a.q[0] | a.q[1]) | (a.q[2] | a.q[3]));
    return (m[0] | m[1]) != 0;
}
inline Mask operator&(Mask a, Mask b) { return where([&](int i) { return a.q[i] & b.q[i]; }); }
inline Mask operator|(Mask a, Mask b) { return where([&](int i) { return a.q[i] | b.q[i]; }); }

inline Lanes operator+(Lanes a, Lanes b) { return each([&](int i) { return a.q[i] + b.q[i]; }); }
inline Lanes operator-(Lanes a, Lanes b) { return each([&](int i) { return a.q[i] - b.q[i]; }); }
inline Lanes operator*(Lanes a, Lanes b) { return each([&](int i) { return a.q[i] * b.q[i]; }); }
inline Lanes operator/(Lanes a, Lanes b) { return each([&](int i) { return a.q[i] / b.q[i]; }); }
inline Lanes operator-(Lanes a) { return Lanes(0.0f) - a; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return each([&](int i) { return a.q[i] * b.q[i] + c.q[i]; }); }
inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return each([&](int i) { return c.q[i] - a.q[i] * b.q[i]; }); }
inline Lanes min(Lanes a, Lanes b) { return each([&](int i) { return choose(a.q[i] < b.q[i], a.q[i], b.q[i]); }); }
inline Lanes max(Lanes a, Lanes b) { return each([&](int i) { return choose(a.q[i] > b.q[i], a.q[i], b.q[i]); }); }
inline Lanes abs(Lanes a) {
    return each([&](int i) { return std::bit_cast<Quad>(std::bit_cast<QuadMask>(a.q[i]) & 0x7fffffff); });
}
inline Lanes sqrt(Lanes a) {
    for (Quad& x : a.q) x = Quad{std::sqrt(x[0]), std::sqrt(x[1]), std::sqrt(x[2]), std::sqrt(x[3])};
    return a;
}
// Values beyond 2^22 are whole already; NaN is kept.
inline Lanes floor(Lanes a) {
    return each([&](int i) {
        const QuadMask small = (a.q[i] < 4194304.0f) & (a.q[i] > -4194304.0f);
        const Quad whole = __builtin_convertvector(__builtin_convertvector(choose(small, a.q[i], Quad{}), QuadMask), Quad);
        const Quad lower = choose(whole > a.q[i], whole - 1.0f, whole);
        return choose(small, lower, a.q[i]);
    });
}
inline Lanes ceil(Lanes a) { return -floor(-a); }
inline Mask operator<(Lanes a, Lanes b) { return where([&](int i) { return a.q[i] < b.q[i]; }); }
inline Mask operator<=(Lanes a, Lanes b) { return where([&](int i) { return a.q[i] <= b.q[i]; }); }
inline Mask operator>(Lanes a, Lanes b) { return b < a; }
inline Mask operator>=(Lanes a, Lanes b) { return b <= a; }
inline Lanes select(Mask m, Lanes a, Lanes b) {
    return each([&](int i) { return choose(m.q[i], a.q[i], b.q[i]); });
}
inline Lanes keep(Mask m, Lanes a) { return select(m, a, Lanes(0.0f)); }
inline float sum(Lanes a) {
    const Quad s = (a.q[0] + a.q[1]) + (a.q[2] + a.q[3]);
    return (s[0] + s[1]) + (s[2] + s[3]);
}
inline float largest(Lanes a) {
    float s = a.q[0][0];
    for (const Quad& x : a.q) {
        for (int i = 0; i < 4; i++) s = x[i] > s ? x[i] : s;
    }
    return s;
}

inline Lanes exp2_fraction(Lanes f);

// x in [-120, 120]: the exponent is added as an integer.
inline Lanes exp2(Lanes x) {
    x = min(max(x, Lanes(-120.0f)), Lanes(120.0f));
    const Lanes whole = floor(x);
    const Lanes p = exp2_fraction(x - whole);
    return each([&](int i) {
        const QuadMask power = __builtin_convertvector(whole.q[i], QuadMask) * (1 << 23);
        return std::bit_cast<Quad>(std::bit_cast<QuadMask>(p.q[i]) + power);
    });
}

inline void split(Lanes x, Lanes& mantissa, Lanes& exponent) {
    for (int i = 0; i < kQuads; i++) {
        const auto word = std::bit_cast<QuadMask>(x.q[i]);
        mantissa.q[i] = std::bit_cast<Quad>((word & 0x007fffff) | 0x3f800000);
        exponent.q[i] = __builtin_convertvector((word >> 23) - 127, Quad);
    }
}

// The same value rounded to the nearest integer, ties to even; 0 where it is NaN or too large for that.
inline Lanes load_anywhere(const float* p) {
    Lanes a;
    std::memcpy(a.q, p, sizeof(a.q));
    return a;
}
inline void store_anywhere(Lanes a, float* p) { std::memcpy(p, a.q, sizeof(a.q)); }
inline void store_rounded(Lanes a, int32_t* p) {
    for (int i = 0; i < kQuads; i++) {
        for (int j = 0; j < 4; j++) {
            const float x = a.q[i][j];
            p[4 * i + j] = std::fabs(x) < 2e9f ? static_cast<int32_t>(std::nearbyint(x)) : 0;
        }
    }
}

}  // namespace h3d
