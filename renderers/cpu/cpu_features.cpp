// Compiled for the oldest CPU of the architecture: it must run where the kernels cannot.
#include "cpu_features.h"

#include <cstring>

namespace h3d {
namespace {

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
bool cpu_has(const char* name) {
    __builtin_cpu_init();  // Some runtimes do not do so by themselves, and then every answer is no.
#define H3D_CPU_HAS(feature) \
    if (std::strcmp(name, feature) == 0) return __builtin_cpu_supports(feature) != 0
    H3D_CPU_HAS("sse4.2");
    H3D_CPU_HAS("avx");
    H3D_CPU_HAS("avx2");
    H3D_CPU_HAS("fma");
    H3D_CPU_HAS("bmi");
    H3D_CPU_HAS("bmi2");
    H3D_CPU_HAS("avx512f");
    H3D_CPU_HAS("avx512dq");
    H3D_CPU_HAS("avx512bw");
    H3D_CPU_HAS("avx512vl");
    H3D_CPU_HAS("avx512cd");
    H3D_CPU_HAS("avx512vbmi");
    H3D_CPU_HAS("avx512vbmi2");
    H3D_CPU_HAS("avx512vnni");
    H3D_CPU_HAS("avx512bf16");
#undef H3D_CPU_HAS
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
