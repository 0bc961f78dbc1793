// Compiled for the oldest CPU of the architecture: it must run where the kernels cannot.
//
// Asks the CPU itself (CPUID, and XGETBV for what the system saves on a task switch): __builtin_cpu_supports depends on
// a runtime that not every compiler brings. Source: Intel 64 manual, volume 2, CPUID; volume 1, 13.3 and 14.3.
#include "cpu_features.h"

#include <cstdint>
#include <cstring>

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define H3D_ASK_CPU 1
#include <cpuid.h>
#endif

namespace h3d {
namespace {

#ifdef H3D_ASK_CPU

enum class Register { eax, ebx, ecx, edx };

// Where CPUID tells of a feature, and which parts of the state the system must save for it.
struct Feature {
    const char* name;
    uint32_t leaf, subleaf;
    Register place;
    int bit;
    uint32_t state;
};
constexpr uint32_t kAvx = 0x06, kAvx512 = 0xe6;
constexpr Feature kFeatures[] = {
    {"sse4.2", 1, 0, Register::ecx, 20, 0},
    {"avx", 1, 0, Register::ecx, 28, kAvx},
    {"fma", 1, 0, Register::ecx, 12, kAvx},
    {"avx2", 7, 0, Register::ebx, 5, kAvx},
    {"bmi", 7, 0, Register::ebx, 3, 0},
    {"bmi2", 7, 0, Register::ebx, 8, 0},
    {"avx512f", 7, 0, Register::ebx, 16, kAvx512},
    {"avx512dq", 7, 0, Register::ebx, 17, kAvx512},
    {"avx512cd", 7, 0, Register::ebx, 28, kAvx512},
    {"avx512bw", 7, 0, Register::ebx, 30, kAvx512},
    {"avx512vl", 7, 0, Register::ebx, 31, kAvx512},
    {"avx512vbmi", 7, 0, Register::ecx, 1, kAvx512},
    {"avx512vbmi2", 7, 0, Register::ecx, 6, kAvx512},
    {"avx512vnni", 7, 0, Register::ecx, 11, kAvx512},
    {"avx512bf16", 7, 1, Register::eax, 5, kAvx512},
};

uint32_t saved_state() {
    uint32_t r[4] = {};
    constexpr uint32_t osxsave = 1u << 27;
    if (__get_cpuid(1, &r[0], &r[1], &r[2], &r[3]) == 0 || (r[2] & osxsave) == 0) return 0;
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

bool cpu_has(const char* name) {
    for (const Feature& f : kFeatures) {
        if (std::strcmp(name, f.name) != 0) continue;
        uint32_t r[4] = {};
        if (__get_cpuid_count(f.leaf, f.subleaf, &r[0], &r[1], &r[2], &r[3]) == 0) return false;
        const bool present = (r[static_cast<int>(f.place)] >> f.bit & 1u) != 0;
        return present && (saved_state() & f.state) == f.state;
    }
    return true;
}

#else

// On other architectures and compilers the default flags fit every CPU that the system runs on.
bool cpu_has(const char*) { return true; }

#endif

}  // namespace

std::vector<std::string> compiled_features() {
    std::vector<std::string> names;
    for (const char* const* name = kCompiledFeatures; *name != nullptr; name++) names.emplace_back(*name);
    return names;
}

std::vector<std::string> missing_features() {
    std::vector<std::string> names;
    for (const char* const* name = kCompiledFeatures; *name != nullptr; name++) {
        if (!cpu_has(*name)) names.emplace_back(*name);
    }
    return names;
}

}  // namespace h3d
