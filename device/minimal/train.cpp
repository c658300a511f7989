// Trains a bundle's mentee with ONNX Runtime's C++ API and nlohmann/json: train BUNDLE STEPS SAMPLES

// Load the runtime
#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using nlohmann::json;

struct Tensor {
  std::vector<int64_t> dims;
  std::vector<float> floats;
  std::vector<int64_t> labels;  // in place of floats
  int64_t row() const { return (floats.size() + labels.size()) / dims[0]; }
};
using Tensors = std::map<std::string, Tensor>;

// Read tensors
std::string bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
std::vector<T> numbers(const std::string& data, size_t start, const json& part) {
  const size_t from = part["data_offsets"][0], to = part["data_offsets"][1];
  std::vector<T> found((to - from) / sizeof(T));
  data.copy(reinterpret_cast<char*>(found.data()), to - from, start + from);
  return found;
}

Tensors tensors(const std::string& path) {
  const std::string data = bytes(path);
  uint64_t size = 0;
  data.copy(reinterpret_cast<char*>(&size), 8);
  const json header = json::parse(data.substr(8, size));
  Tensors found;
  for (const auto& [name, part] : header.items()) {
    if (name == "__metadata__") continue;
    Tensor& tensor = found[name];
    tensor.dims = part["shape"].get<std::vector<int64_t>>();
    if (part["dtype"] == "F32") tensor.floats = numbers<float>(data, 8 + size, part);
    if (part["dtype"] == "I64") tensor.labels = numbers<int64_t>(data, 8 + size, part);
    if (part["dtype"] == "U8")
      for (uint8_t value : numbers<uint8_t>(data, 8 + size, part)) tensor.floats.push_back(value);
    if (part["dtype"] == "F16")
      for (uint16_t value : numbers<uint16_t>(data, 8 + size, part))
        tensor.floats.push_back(Ort::Float16_t::FromBits(value).ToFloat());
  }
  return found;
}

// Open the graphs
int main(int arguments, char** argv) {
  if (arguments != 4) {
    std::cerr << "usage: train BUNDLE STEPS SAMPLES" << std::endl;
    return 2;
  }
  const std::string folder = argv[1];
  const int64_t steps = std::stoll(argv[2]);
  const json manifest = json::parse(bytes(folder + "/manifest.json"));
  Ort::Env environment;
  std::map<std::string, Ort::Session> graphs;
  for (const std::string name : {"gradients", "optimizer", "forward"}) {
    const std::filesystem::path path = folder + "/stock/" + name + ".onnx";
    graphs.emplace(name, Ort::Session(environment, path.c_str(), Ort::SessionOptions()));
  }
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
  Tensors values;
  auto run = [&](const std::string& graph, Tensors more) {
    std::vector<std::string> names;
    std::vector<const char*> inputs, outputs;
    std::vector<Ort::Value> given;
    const json& ports = manifest["stock"][graph];
    for (const json& port : ports["inputs"]) {
      const std::string& name = port["name"].get_ref<const std::string&>();
      Tensor& tensor = more.count(name) ? more[name] : values.at(name);
      inputs.push_back(name.c_str());
      given.push_back(tensor.labels.empty() ? Ort::Value::CreateTensor(memory, tensor.floats.data(), tensor.floats.size(),
                                                                       tensor.dims.data(), tensor.dims.size())
                                            : Ort::Value::CreateTensor(memory, tensor.labels.data(), tensor.labels.size(),
                                                                       tensor.dims.data(), tensor.dims.size()));
    }
    for (const json& port : ports["outputs"]) outputs.push_back(port["name"].get_ref<const std::string&>().c_str());
    const std::vector<Ort::Value> found = graphs.at(graph).Run(Ort::RunOptions(), inputs.data(), given.data(),
                                                               given.size(), outputs.data(), outputs.size());
    for (size_t i = 0; i < found.size(); i++) {
      const std::string name = outputs[i];
      const auto about = found[i].GetTensorTypeAndShapeInfo();
      const float* first = found[i].GetTensorData<float>();
      values[name.rfind("new_", 0) == 0 ? name.substr(4) : name] = {
          about.GetShape(), std::vector<float>(first, first + about.GetElementCount()), {}};
    }
  };

  // Begin with the bundle's state
  values = tensors(folder + "/stock/state.safetensors");
  Tensor& parameters = values["parameters"];
  values["moment1"] = values["moment2"] = {parameters.dims, std::vector<float>(parameters.floats.size()), {}};
  for (const std::string knob : {"alpha", "beta", "gamma", "temperature"})
    values[knob] = {{1}, {manifest["loss"][knob].get<float>()}, {}};
  values["learning_rate"] = {{1}, {manifest["optimizer"]["learning_rate"].get<float>()}, {}};

  // Read the replay samples
  Tensors pool = tensors(folder + "/supervision.safetensors");
  pool["labelled"].dims = pool["supervised"].dims = pool["labels"].dims;
  for (int64_t label : pool["labels"].labels) pool["labelled"].floats.push_back(label >= 0 ? 1 : 0);
  pool["supervised"].floats.assign(pool["labels"].labels.size(), 1);

  // Add the owner's samples
  Tensors own = tensors(argv[3]);
  const int64_t added = own["labels"].labels.size();
  for (int64_t label : own["labels"].labels) own["labelled"].floats.push_back(label >= 0 ? 4 : 0);
  for (auto& [name, all] : pool) {
    const int64_t row = all.row();
    std::vector<float>& mine = own[name].floats;
    if (name != "labels") mine.resize(added * row);  // zeros where the mentor gave no answer
    all.floats.insert(all.floats.end(), mine.begin(), mine.end());
    all.labels.insert(all.labels.end(), own[name].labels.begin(), own[name].labels.end());
    all.dims[0] += added;
  }

  // Mix batches
  const json& rules = manifest["preprocessing"];
  const float scale = rules.value("dtype", "uint8") == "float32" ? 1 : 255;
  const std::vector<float> mean = rules["mean"], std_ = rules["std"];
  const int64_t plane = rules["shape"][1].get<int64_t>() * rules["shape"][2].get<int64_t>();
  for (size_t i = 0; i < pool["input"].floats.size(); i++) {
    const size_t channel = i / plane % mean.size();
    pool["input"].floats[i] = (pool["input"].floats[i] / scale - mean[channel]) / std_[channel];
  }
  auto batch = [&](int64_t number) {
    Tensors taken{{"seed", {{1}, {float(number)}, {}}}};
    for (const auto& [name, all] : pool) {
      Tensor& some = taken[name] = {all.dims, {}, {}};
      some.dims[0] = 24;
      for (int64_t i = 0; i < 24; i++) {
        const int64_t start = (24 * number + i) * 7919 % all.dims[0] * all.row();
        if (name == "labels") some.labels.push_back(all.labels[start]);
        else some.floats.insert(some.floats.end(), &all.floats[start], &all.floats[start] + all.row());
      }
    }
    return taken;
  };

  const int64_t accumulate = manifest["optimizer"].value("accumulate", 1);
  std::cout.precision(9);
  for (int64_t step = 0; step < steps; step++) {
    // Compute gradients
    run("gradients", batch(step));
    std::cout << values["loss"].floats[0] << std::endl;

    // Add up the gradients of several batches
    for (int64_t part = 1; part < accumulate; part++) {
      const std::vector<float> before = values["gradient"].floats;
      run("gradients", batch(part * steps + step));
      for (size_t i = 0; i < before.size(); i++) values["gradient"].floats[i] += before[i];
      std::cout << values["loss"].floats[0] << std::endl;
    }
    for (float& value : values["gradient"].floats) value /= accumulate;

    // Refuse what is not finite
    for (float value : values["gradient"].floats)
      if (!std::isfinite(value)) throw std::runtime_error("the gradient is not finite: lower the learning rate");

    // Move the parameters
    run("optimizer", {{"step", {{1}, {float(step + 1)}, {}}}});
  }

  // Keep the state
  std::ofstream kept("state.new", std::ios::binary);
  values["steps"].floats = {float(steps)};
  for (const std::string name : {"parameters", "moment1", "moment2", "statistics", "steps"})
    kept.write(reinterpret_cast<char*>(values[name].floats.data()), values[name].floats.size() * sizeof(float));
  kept.close();
  if (!kept) throw std::runtime_error("state.new cannot be written");
  std::filesystem::rename("state.new", "state.f32");

  // Predict
  run("forward", {{"input", batch(0)["input"]}});
  const std::vector<float>& logits = values["logits"].floats;
  std::cout << json(std::vector<float>(logits.begin(), logits.begin() + manifest["classes"].size())) << std::endl;
}
