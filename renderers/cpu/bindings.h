// The parts of the module h3d.renderers.cpu._kernels, one a file.
#pragma once

#include <nanobind/nanobind.h>

namespace h3d {

void bind_encoding(nanobind::module_& m);  // hash grids and small networks
void bind_fields(nanobind::module_& m);    // marching, blending, the occupancy grid
void bind_radiance(nanobind::module_& m);  // rays through hash-grid radiance fields
void bind_adam(nanobind::module_& m);      // the optimiser of tables
void bind_image_loss(nanobind::module_& m);   // L1 and SSIM of two pictures
void bind_path_tracer(nanobind::module_& m);  // path tracing and what a radiance cache is told
void bind_gradients(nanobind::module_& m);    // backward passes of the rasteriser

}  // namespace h3d
