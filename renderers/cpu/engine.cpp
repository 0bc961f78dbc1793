#include "engine.h"

#include <algorithm>
#include <mutex>
#include <thread>

namespace h3d {
namespace {

// Never destroyed: at exit other threads may still be inside, and the system frees it all.
Engine* engine = nullptr;
std::once_flag* once = new std::once_flag;

}  // namespace

Engine::Engine() : pool_(std::max(static_cast<int>(std::thread::hardware_concurrency()), 1)) {}

Engine& Engine::instance() {
    std::call_once(*once, [] { engine = new Engine; });
    return *engine;
}

void Engine::reset_after_fork() {
    once = new std::once_flag;
    engine = nullptr;
}

int Engine::threads() {
    const HeldTurn turn(turn_, Cancel());
    return pool_.threads();
}

void Engine::set_threads(int threads) {
    const HeldTurn turn(turn_, Cancel());
    pool_.resize(threads);
}

bool Engine::rasterize(const Frame& frame, Stats& stats) {
    const HeldTurn turn(turn_, frame.cancel);
    return turn.held() && h3d::rasterize(frame, *state_, pool_, stats);
}

size_t Engine::scratch_bytes() {
    const HeldTurn turn(turn_, Cancel());
    return state_->bytes();
}

void Engine::release_scratch() {
    const HeldTurn turn(turn_, Cancel());
    state_ = std::make_unique<RasterState>();
}

}  // namespace h3d
