// Python's side of gradients.h. Compiled without the kernels' CPU flags, as bindings.cpp is.
#include "bindings.h"
#include "bindings_scene.h"
#include "gradients.h"

#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

// A picture's values and their gradients; null = none.
struct PictureArrays {
    Out<const float> rgb, alpha, depth, features, d_rgb, d_alpha, d_depth, d_features;
};

// Where the gradients go; null = not wanted.
struct GradientArrays {
    Out<float> means, quats, scales, opacities, sh, features, norms, abs_norms, squares;
    Out<double> camera;
};

// False when it was cancelled. Sizes are the twin's to get right: it makes the arrays of the scene's own shapes.
bool backward(const Tape& tape, const Scene& scene, const Settings& settings, const PictureArrays& picture,
              const GradientArrays& gradients, uintptr_t cancel_address) {
    const std::vector<SceneRows> rows{rows_of(scene, 0)};
    const PictureGradients values{data_or_null(picture.rgb),     data_or_null(picture.alpha),
                                  data_or_null(picture.depth),   data_or_null(picture.features),
                                  data_or_null(picture.d_rgb),   data_or_null(picture.d_alpha),
                                  data_or_null(picture.d_depth), data_or_null(picture.d_features)};
    const RowGradients out{data_or_null(gradients.means),     data_or_null(gradients.quats),
                           data_or_null(gradients.scales),    data_or_null(gradients.opacities),
                           data_or_null(gradients.sh),        data_or_null(gradients.features),
                           data_or_null(gradients.norms),     data_or_null(gradients.abs_norms),
                           data_or_null(gradients.squares),   data_or_null(gradients.camera)};
    const Cancel cancel(reinterpret_cast<const int32_t*>(cancel_address));
    const nb::gil_scoped_release release;
    return Engine::instance().run(cancel, [&](Pool& pool) {
        return rasterize_backward({rows, settings, Outputs{}, cancel}, values, out, *tape.state, pool);
    });
}

void radii(const Tape& tape, const Settings& settings, nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu> out) {
    SceneRows rows;
    rows.count = static_cast<int64_t>(out.shape(0));
    const std::vector<SceneRows> scenes{rows};
    measure_radii({scenes, settings, Outputs{}, Cancel()}, *tape.state, out.data());
}

template <class C, class T>
void bind_array(nb::class_<C>& c, const char* name, Out<T> C::*member) {
    c.def_rw(name, member, nb::arg().none());
}

}  // namespace

void bind_gradients(nb::module_& m) {
    nb::class_<Tape>(m, "Tape").def(nb::init<>());
    nb::class_<PictureArrays> picture(m, "PictureArrays");
    picture.def(nb::init<>());
    using P = PictureArrays;
    bind_array(picture, "rgb", &P::rgb), bind_array(picture, "alpha", &P::alpha);
    bind_array(picture, "depth", &P::depth), bind_array(picture, "features", &P::features);
    bind_array(picture, "d_rgb", &P::d_rgb), bind_array(picture, "d_alpha", &P::d_alpha);
    bind_array(picture, "d_depth", &P::d_depth), bind_array(picture, "d_features", &P::d_features);
    nb::class_<GradientArrays> gradients(m, "GradientArrays");
    gradients.def(nb::init<>());
    using G = GradientArrays;
    bind_array(gradients, "means", &G::means), bind_array(gradients, "quats", &G::quats);
    bind_array(gradients, "scales", &G::scales), bind_array(gradients, "opacities", &G::opacities);
    bind_array(gradients, "sh", &G::sh), bind_array(gradients, "features", &G::features);
    bind_array(gradients, "norms", &G::norms), bind_array(gradients, "abs_norms", &G::abs_norms);
    bind_array(gradients, "squares", &G::squares), bind_array(gradients, "camera", &G::camera);
    m.def("rasterize_backward", &backward, "tape"_a, "scene"_a, "settings"_a, "picture"_a, "gradients"_a,
          "cancel_address"_a);
    m.def("splat_radii", &radii, "tape"_a, "settings"_a, "out"_a);
}

}  // namespace h3d
