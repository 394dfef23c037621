// The device step of k-means for several restarts side by side: nearest centroids of some rows, and sums of members.
#pragma once

#include <vector>

#include "points.h"

namespace emoframe {

class Assignment {
 public:
  // Room for `restarts` sets of `clusters` centroids and `rows` rows at once.
  Assignment(Backend &backend, int64_t restarts, int64_t clusters, int64_t dimension, int64_t rows)
      : backend_(backend),
        clusters_(clusters),
        dimension_(dimension),
        centroids_(backend, static_cast<size_t>(restarts * clusters * dimension) * 4),
        sums_(backend, static_cast<size_t>(restarts * clusters * dimension) * 4),
        counts_(backend, static_cast<size_t>(restarts * clusters) * 4),
        labels_(backend, static_cast<size_t>(restarts * rows) * 4),
        distances_(backend, static_cast<size_t>(restarts * rows) * 4) {}

  // host [R, K, C]
  void setCentroids(const std::vector<float> &host) {
    active_ = static_cast<int64_t>(host.size()) / (clusters_ * dimension_);
    backend_.upload(centroids_.get(), host.data(), host.size() * sizeof(float));
  }
  // What a visit to rows [n, C] leaves for downloading beside their labels.
  enum Wanted : unsigned { labelsOnly = 0, distances = 1, sums = 2 };
  void assign(const View &x, unsigned wanted) {
    rows_ = x.rows;
    AssignClusters assignment;
    assignment.x = x;
    assignment.centroids =
        batched(centroids_.get(), DType::f32, active_, clusters_, dimension_, clusters_ * dimension_, dimension_);
    assignment.labels = labels();
    if (wanted & distances) assignment.distance = matrix(distances_.get(), DType::f32, active_, rows_);
    if (wanted & sums) {
      assignment.sums =
          batched(sums_.get(), DType::f32, active_, clusters_, dimension_, clusters_ * dimension_, dimension_);
      assignment.counts = batched(counts_.get(), DType::f32, active_, 1, clusters_, clusters_, clusters_);
    }
    backend_.run(assignment);
  }
  // [R, n], [R, K, C], [R, K] to the host.
  void downloadDistances(std::vector<float> &host) const { download(distances_, active_ * rows_, host); }
  void downloadSums(std::vector<float> &host) const { download(sums_, active_ * clusters_ * dimension_, host); }
  void downloadCounts(std::vector<float> &host) const { download(counts_, active_ * clusters_, host); }
  void downloadLabels(int32_t *host) const {
    backend_.download(host, labels_.get(), static_cast<size_t>(active_ * rows_) * 4);
  }

 private:
  int32_t *labels() const { return static_cast<int32_t *>(labels_.get()); }
  void download(const DeviceMemory &memory, int64_t size, std::vector<float> &host) const {
    host.resize(static_cast<size_t>(size));
    backend_.download(host.data(), memory.get(), host.size() * sizeof(float));
  }

  Backend &backend_;
  int64_t clusters_, dimension_, active_ = 0, rows_ = 0;
  DeviceMemory centroids_, sums_, counts_, labels_, distances_;
};

}  // namespace emoframe
