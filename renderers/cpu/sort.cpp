// Stage 3: each tile's entries from near to far, rows of equal depth in their own order.
//
// Tiles hold hundreds to thousands of entries, so a radix sort on the bits in which their depths differ stays within
// the first cache levels. It is stable and the entries arrive in the order of the rows.
#include <algorithm>
#include <bit>
#include <cstring>

#include "raster.h"

namespace h3d {
namespace {

constexpr int64_t kFew = 32;
constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;

void sort_few(Entry* entries, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        const Entry e = entries[i];
        int64_t j = i;
        for (; j > 0 && entries[j - 1] > e; j--) entries[j] = entries[j - 1];
        entries[j] = e;
    }
}

void sort_many(Entry* entries, Entry* space, int64_t n) {
    uint32_t low = ~0u, high = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t depth = static_cast<uint32_t>(entries[i] >> 32);
        low = std::min(low, depth);
        high = std::max(high, depth);
    }
    const int passes = (std::bit_width(high - low) + kDigitBits - 1) / kDigitBits;
    const Entry base = static_cast<Entry>(low) << 32;
    uint32_t counts[4][kDigits];
    std::memset(counts, 0, sizeof(counts[0]) * passes);
    for (int64_t i = 0; i < n; i++) {
        uint32_t key = static_cast<uint32_t>((entries[i] - base) >> 32);
        for (int pass = 0; pass < passes; pass++, key >>= kDigitBits) counts[pass][key & (kDigits - 1)]++;
    }
    Entry *from = entries, *to = space;
    for (int pass = 0; pass < passes; pass++) {
        uint32_t place = 0;
        for (uint32_t& count : counts[pass]) {
            const uint32_t here = count;
            count = place;
            place += here;
        }
        const int shift = 32 + pass * kDigitBits;
        for (int64_t i = 0; i < n; i++) to[counts[pass][(from[i] - base) >> shift & (kDigits - 1)]++] = from[i];
        std::swap(from, to);
    }
    if (from != entries) std::memcpy(entries, from, sizeof(Entry) * n);
}

}  // namespace

bool sort(const Frame& frame, RasterState& state, Pool& pool, Band band) {
    const int64_t* starts = state.tile_starts.data();
    int64_t longest = 0;
    for (int64_t tile = band.begin; tile < band.end; tile++) longest = std::max(longest, starts[tile + 1] - starts[tile]);
    state.sort_space.resize(pool.threads());
    for (Buffer<Entry>& space : state.sort_space) space.ensure(static_cast<size_t>(longest));
    constexpr int64_t kBatch = 4;
    const int64_t batches = (band.end - band.begin + kBatch - 1) / kBatch;
    return pool.run(batches, frame.cancel, [&](int worker, int64_t batch) {
        const int64_t begin = band.begin + batch * kBatch, end = std::min(begin + kBatch, band.end);
        for (int64_t tile = begin; tile < end; tile++) {
            Entry* entries = state.entries.data() + (starts[tile] - starts[band.begin]);
            const int64_t n = starts[tile + 1] - starts[tile];
            if (n <= kFew) {
                sort_few(entries, n);
            } else {
                sort_many(entries, state.sort_space[worker].data(), n);
            }
        }
    });
}

}  // namespace h3d
