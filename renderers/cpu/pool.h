// A small pool of threads that share out numbered items; the caller works too, and nobody spins.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace h3d {

// A flag in the caller's memory that is polled between items; not zero means stop.
class Cancel {
public:
    explicit Cancel(const int32_t* word = nullptr) : word_(word) {}
    bool is_set() const {
        return word_ != nullptr && *static_cast<const volatile int32_t*>(word_) != 0;
    }

private:
    const int32_t* word_;
};

class Pool {
public:
    explicit Pool(int threads) { start(threads); }
    ~Pool() { stop(); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }
    void resize(int threads);

    // Calls body(worker, item) for every item in [0, items), worker in [0, threads()). False when it was cancelled:
    // then some items were not done. One call at a time; the first exception of a body is thrown again here.
    template <class F>
    bool run(int64_t items, const Cancel& cancel, F&& body) {
        using Body = std::remove_reference_t<F>;
        return run_erased(items, cancel, &body, [](void* f, int worker, int64_t item) {
            (*static_cast<Body*>(f))(worker, item);
        });
    }

private:
    using Call = void (*)(void*, int, int64_t);
    bool run_erased(int64_t items, const Cancel& cancel, void* body, Call call);
    void start(int threads);
    void stop();
    void serve(int worker, uint64_t seen);
    void work(int worker);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    uint64_t round_ = 0;
    int busy_ = 0;
    bool stopping_ = false;

    // The job at hand; written before the workers wake, read by them only until idle_.
    void* body_ = nullptr;
    Call call_ = nullptr;
    const Cancel* cancel_ = nullptr;
    int64_t items_ = 0;
    std::atomic<int64_t> next_{0};
    std::atomic<bool> halted_{false};
    std::exception_ptr error_;
};

// First come, first served: a caller that renders in a loop cannot starve another. A cancelled waiter gives up.
class Turn {
public:
    bool take(const Cancel& cancel);
    void pass();

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<uint64_t> line_;
    uint64_t next_ticket_ = 0;
};

// A turn that is passed on at the end of the block; not held when the caller was cancelled while waiting.
class HeldTurn {
public:
    HeldTurn(Turn& turn, const Cancel& cancel) : turn_(turn), held_(turn.take(cancel)) {}
    ~HeldTurn() {
        if (held_) turn_.pass();
    }
    HeldTurn(const HeldTurn&) = delete;
    HeldTurn& operator=(const HeldTurn&) = delete;
    bool held() const { return held_; }

private:
    Turn& turn_;
    bool held_;
};

}  // namespace h3d
