#include "pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace h3d {

void Pool::start(int threads) {
    for (int worker = 1; worker < threads; worker++) {
        workers_.emplace_back([this, worker, seen = round_] { serve(worker, seen); });
    }
}

void Pool::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : workers_) thread.join();
    workers_.clear();
    stopping_ = false;
}

void Pool::resize(int threads) {
    if (threads == this->threads()) return;
    stop();
    start(threads);
}

// `seen` is the round at the thread's birth: a job that starts before the thread first runs still counts on it.
void Pool::serve(int worker, uint64_t seen) {
    while (true) {
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return stopping_ || round_ != seen; });
            if (stopping_) return;
            seen = round_;
        }
        work(worker);
        {
            const std::lock_guard lock(mutex_);
            if (--busy_ == 0) idle_.notify_one();
        }
    }
}

void Pool::work(int worker) {
    while (!halted_.load(std::memory_order_relaxed)) {
        const int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
        if (item >= items_) return;
        if (cancel_->is_set()) {
            halted_ = true;
            return;
        }
        try {
            call_(body_, worker, item);
        } catch (...) {
            const std::lock_guard lock(mutex_);
            if (error_ == nullptr) error_ = std::current_exception();
            halted_ = true;
        }
    }
}

bool Pool::run_erased(int64_t items, const Cancel& cancel, void* body, Call call) {
    body_ = body;
    call_ = call;
    cancel_ = &cancel;
    items_ = items;
    next_ = 0;
    halted_ = false;
    error_ = nullptr;
    const bool share = items > 1 && !workers_.empty();
    if (share) {
        {
            const std::lock_guard lock(mutex_);
            busy_ = static_cast<int>(workers_.size());
            round_++;
        }
        wake_.notify_all();
    }
    work(0);
    if (share) {
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [&] { return busy_ == 0; });
    }
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
    return !halted_;
}

bool Turn::take(const Cancel& cancel) {
    std::unique_lock lock(mutex_);
    const uint64_t ticket = next_ticket_++;
    line_.push_back(ticket);
    while (line_.front() != ticket) {
        // The flag cannot wake anyone, so it is looked at every two milliseconds.
        changed_.wait_for(lock, std::chrono::milliseconds(2));
        if (line_.front() != ticket && cancel.is_set()) {
            line_.erase(std::find(line_.begin(), line_.end(), ticket));
            return false;
        }
    }
    return true;
}

void Turn::pass() {
    {
        const std::lock_guard lock(mutex_);
        line_.pop_front();
    }
    changed_.notify_all();
}

}  // namespace h3d
