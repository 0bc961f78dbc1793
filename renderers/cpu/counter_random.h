// Random numbers by counter: what a path draws depends on its number alone, not on who traces it or when.
//
// Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox 4x32, ten rounds).
#pragma once

#include <array>
#include <cstdint>

namespace h3d {

using Words = std::array<uint32_t, 4>;

inline Words philox(Words counter, uint64_t key) {
    auto key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
                   static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    return counter;
}

// Four numbers in [0, 1), evenly spaced so that 1 cannot come out by rounding.
inline std::array<float, 4> uniforms(Words counter, uint64_t key) {
    const Words words = philox(counter, key);
    std::array<float, 4> out;
    for (int i = 0; i < 4; i++) out[i] = static_cast<float>(words[i] >> 8) * 0x1p-24f;
    return out;
}

}  // namespace h3d
