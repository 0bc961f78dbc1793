// Which instructions the kernels were compiled for, and whether this CPU has them.
#pragma once

#include <string>
#include <vector>

namespace h3d {

// Names ending with a null pointer: data only, so that it can be read on a CPU that lacks them.
extern const char* const kCompiledFeatures[];

std::vector<std::string> compiled_features();
std::vector<std::string> missing_features();

}  // namespace h3d
