// A hint that memory will be read soon; nothing where the compiler has no word for it.
#pragma once

#include <cstddef>

namespace h3d {

inline void prefetch(const void* p, size_t bytes) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(p);
    __builtin_prefetch(static_cast<const char*>(p) + bytes - 1);
#else
    (void)p, (void)bytes;
#endif
}

// For what lies within one line of the cache.
inline void prefetch(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

}  // namespace h3d
