// A scene's arrays as Python hands them over, and the state that a picture leaves for its backward pass.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "engine.h"

namespace h3d {

namespace nb = nanobind;

template <class T, class... Dims>
using In = nb::ndarray<const T, nb::shape<Dims::value...>, nb::c_contig, nb::device::cpu>;
template <std::ptrdiff_t n>
using Dim = std::integral_constant<std::ptrdiff_t, n>;
using Any = Dim<-1>;

// The arrays of a scene, kept alive while their addresses are in use.
struct Scene {
    In<float, Any, Dim<3>> means;
    In<float, Any, Dim<4>> quats;
    In<float, Any, Dim<3>> scales;
    In<float, Any> opacities;
    In<float, Any, Any, Dim<3>> sh;
    std::optional<In<float, Any, Any>> features;
    std::optional<In<uint8_t, Any>> visible;
    std::array<float, 12> to_camera;
    std::array<float, 3> eye;
    std::array<float, 9> turn;
};

inline SceneRows rows_of(const Scene& scene, int64_t first) {
    SceneRows rows;
    rows.means = scene.means.data();
    rows.quats = scene.quats.data();
    rows.scales = scene.scales.data();
    rows.opacities = scene.opacities.data();
    rows.sh = scene.sh.data();
    if (scene.features.has_value()) rows.features = scene.features->data();
    if (scene.visible.has_value()) rows.visible = scene.visible->data();
    rows.count = static_cast<int64_t>(scene.means.shape(0));
    rows.first = first;
    rows.bases = static_cast<int>(scene.sh.shape(1));
    std::copy(scene.to_camera.begin(), scene.to_camera.end(), rows.to_camera);
    std::copy(scene.eye.begin(), scene.eye.end(), rows.eye);
    std::copy(scene.turn.begin(), scene.turn.end(), rows.turn);
    return rows;
}

template <class T>
T* data_or_null(const std::optional<nb::ndarray<T, nb::c_contig, nb::device::cpu>>& array) {
    return array.has_value() ? array->data() : nullptr;
}

template <class T>
using Out = std::optional<nb::ndarray<T, nb::c_contig, nb::device::cpu>>;

// What a picture leaves behind for its backward pass; the memory serves the next picture when it goes.
struct Tape {
    std::unique_ptr<RasterState> state = Engine::instance().take_state();

    Tape() = default;
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;
    ~Tape() { Engine::instance().give_state(std::move(state)); }
};

}  // namespace h3d
