#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace quanta::simulate {

/// Objects that calls borrow, so that nothing is allocated once each thread has had its turn.
template <class Item>
struct Pool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Item>> idle;
};

template <class Item>
class Borrowed {
 public:
  explicit Borrowed(Pool<Item>& pool) : pool_(pool) {
    const std::lock_guard lock(pool.mutex);
    if (pool.idle.empty()) {
      item_ = std::make_unique<Item>();
    } else {
      item_ = std::move(pool.idle.back());
      pool.idle.pop_back();
    }
  }
  Borrowed(const Borrowed&) = delete;
  ~Borrowed() {
    const std::lock_guard lock(pool_.mutex);
    pool_.idle.push_back(std::move(item_));
  }
  Item* operator->() { return item_.get(); }
  Item& operator*() { return *item_; }

 private:
  Pool<Item>& pool_;
  std::unique_ptr<Item> item_;
};

}  // namespace quanta::simulate
