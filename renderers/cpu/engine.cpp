#include "engine.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

namespace h3d {
namespace {

// Never destroyed: at exit other threads may still be inside, and the system frees it all.
Engine* engine = nullptr;
std::once_flag* once = new std::once_flag;

constexpr size_t kIdleStates = 2;

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

bool Engine::rasterize(const Frame& frame, Stats& stats) { return rasterize(frame, *state_, stats); }

bool Engine::rasterize(const Frame& frame, RasterState& state, Stats& stats) {
    const HeldTurn turn(turn_, frame.cancel);
    return turn.held() && h3d::rasterize(frame, state, pool_, stats);
}

std::unique_ptr<RasterState> Engine::take_state() {
    const std::lock_guard lock(idle_mutex_);
    if (idle_.empty()) return std::make_unique<RasterState>();
    std::unique_ptr<RasterState> state = std::move(idle_.back());
    idle_.pop_back();
    return state;
}

void Engine::give_state(std::unique_ptr<RasterState> state) {
    const std::lock_guard lock(idle_mutex_);
    if (idle_.size() < kIdleStates) idle_.push_back(std::move(state));
}

size_t Engine::scratch_bytes() {
    const HeldTurn turn(turn_, Cancel());
    const std::lock_guard lock(idle_mutex_);
    size_t total = state_->bytes();
    for (const auto& state : idle_) total += state->bytes();
    return total;
}

void Engine::release_scratch() {
    const HeldTurn turn(turn_, Cancel());
    const std::lock_guard lock(idle_mutex_);
    state_ = std::make_unique<RasterState>();
    idle_.clear();
}

}  // namespace h3d
