// Trains a bundle's mentee with ONNX Runtime's Swift package, off the main thread

// Load the runtime
import Foundation
import OnnxRuntimeBindings // CocoaPods: onnxruntime_objc

struct Tensor {
    var dims: [Int]
    var floats: [Float] = []
    var labels: [Int64] = [] // in place of floats
    var row: Int { (floats.count + labels.count) / dims[0] }
    static func scalar(_ value: Float) -> Tensor { Tensor(dims: [1], floats: [value]) }
}

struct NotFinite: Error { let step: Int }

// Read tensors
func tensors(_ file: URL) throws -> [String: Tensor] {
    let data = try Data(contentsOf: file)
    func number<T>(at place: Int, as type: T.Type) -> T {
        data.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: type) }
    }
    let start = 8 + Int(number(at: 0, as: UInt64.self))
    let header = try json(data.subdata(in: 8..<start))
    var found: [String: Tensor] = [:]
    for (name, value) in header where name != "__metadata__" {
        let part = value as! [String: Any]
        let dims = part["shape"] as! [Int]
        let from = start + (part["data_offsets"] as! [Int])[0]
        let places = 0..<dims.reduce(1, *)
        switch part["dtype"] as! String {
        case "F32": found[name] = Tensor(dims: dims, floats: places.map { number(at: from + 4 * $0, as: Float.self) })
        case "F16": found[name] = Tensor(dims: dims, floats: places.map { half(number(at: from + 2 * $0, as: UInt16.self)) })
        case "U8": found[name] = Tensor(dims: dims, floats: places.map { Float(number(at: from + $0, as: UInt8.self)) })
        case "I64": found[name] = Tensor(dims: dims, labels: places.map { number(at: from + 8 * $0, as: Int64.self) })
        default: throw CocoaError(.fileReadCorruptFile)
        }
    }
    return found
}

func json(_ data: Data) throws -> [String: Any] {
    try JSONSerialization.jsonObject(with: data) as! [String: Any]
}

/// The number whose float16 has these bits.
func half(_ bits: UInt16) -> Float {
    let exponent = Int(bits >> 10) & 31
    let fraction = Float(bits & 1023) + (exponent > 0 ? 1024 : 0)
    return (bits & 0x8000 != 0 ? -1 : 1) * scalbn(fraction, max(exponent, 1) - 25)
}

// Open the graphs
func train(folder: URL, steps: Int, samples: URL, kept: URL) throws {
    let manifest = try json(Data(contentsOf: folder.appendingPathComponent("manifest.json")))
    let optimizer = manifest["optimizer"] as! [String: Any]
    let environment = try ORTEnv(loggingLevel: .warning)
    var graphs: [String: ORTSession] = [:]
    for name in ["gradients", "optimizer", "forward"] {
        let path = folder.appendingPathComponent("stock/\(name).onnx").path
        graphs[name] = try ORTSession(env: environment, modelPath: path, sessionOptions: nil)
    }
    var values: [String: Tensor] = [:]

    func tensor(_ from: Tensor) throws -> ORTValue {
        let data = from.labels.isEmpty ? from.floats.withUnsafeBytes { Data($0) } : from.labels.withUnsafeBytes { Data($0) }
        return try ORTValue(
            tensorData: NSMutableData(data: data), elementType: from.labels.isEmpty ? .float : .int64,
            shape: from.dims.map { NSNumber(value: $0) })
    }

    func run(_ graph: String, _ more: [String: Tensor]) throws {
        let session = graphs[graph]!
        var feeds: [String: ORTValue] = [:]
        for name in try session.inputNames() { feeds[name] = try tensor(more[name] ?? values[name]!) }
        let names = Set(try session.outputNames())
        for (name, value) in try session.run(withInputs: feeds, outputNames: names, runOptions: nil) {
            let dims = try value.tensorTypeAndShapeInfo().shape.map { $0.intValue }
            let data = try value.tensorData() as Data
            let floats = data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
            values[name.hasPrefix("new_") ? String(name.dropFirst(4)) : name] = Tensor(dims: dims, floats: floats)
        }
    }

    // Begin with the bundle's state
    values = try tensors(folder.appendingPathComponent("stock/state.safetensors"))
    let parameters = values["parameters"]!
    let zeros = Tensor(dims: parameters.dims, floats: [Float](repeating: 0, count: parameters.floats.count))
    values["moment1"] = zeros
    values["moment2"] = zeros
    for knob in ["alpha", "beta", "gamma", "temperature"] {
        values[knob] = .scalar(((manifest["loss"] as! [String: Any])[knob] as! NSNumber).floatValue)
    }
    values["learning_rate"] = .scalar((optimizer["learning_rate"] as! NSNumber).floatValue)

    // Read the replay samples
    var pool = try tensors(folder.appendingPathComponent("supervision.safetensors"))
    let labels = pool["labels"]!
    pool["labelled"] = Tensor(dims: labels.dims, floats: labels.labels.map { $0 >= 0 ? 1 : 0 })
    pool["supervised"] = Tensor(dims: labels.dims, floats: labels.labels.map { _ in 1 })

    // Add the owner's samples
    var own = try tensors(samples)
    let count = own["labels"]!.labels.count
    own["labelled"] = Tensor(dims: [count], floats: own["labels"]!.labels.map { $0 >= 0 ? 4 : 0 })
    for (name, all) in pool {
        let unanswered = [Float](repeating: 0, count: name == "labels" ? 0 : count * all.row)
        pool[name]!.floats = all.floats + (own[name]?.floats ?? unanswered)
        pool[name]!.labels = all.labels + (own[name]?.labels ?? [])
        pool[name]!.dims[0] += count
    }

    // Mix batches
    let rules = manifest["preprocessing"] as! [String: Any]
    let shape = rules["shape"] as! [Int]
    let mean = (rules["mean"] as! [NSNumber]).map { $0.floatValue }
    let std = (rules["std"] as! [NSNumber]).map { $0.floatValue }
    let scale: Float = rules["dtype"] as? String == "float32" ? 1 : 255
    pool["input"]!.floats = pool["input"]!.floats.enumerated().map { place, value in
        let channel = place / (shape[1] * shape[2]) % shape[0]
        return (value / scale - mean[channel]) / std[channel]
    }

    func batch(_ number: Int) -> [String: Tensor] {
        var taken: [String: Tensor] = ["seed": .scalar(Float(number))]
        let rows = (0..<24).map { (24 * number + $0) * 7919 }
        for (name, all) in pool {
            let row = all.row
            let places = rows.flatMap { ($0 % all.dims[0] * row)..<($0 % all.dims[0] * row + row) }
            let dims = [24] + all.dims.dropFirst()
            taken[name] =
                name == "labels"
                ? Tensor(dims: dims, labels: places.map { all.labels[$0] })
                : Tensor(dims: dims, floats: places.map { all.floats[$0] })
        }
        return taken
    }

    for step in 0..<steps {
        // Compute gradients
        try run("gradients", batch(step))
        print(values["loss"]!.floats[0])

        // Add up the gradients of several batches
        let accumulate = optimizer["accumulate"] as? Int ?? 1
        for part in 1..<max(accumulate, 1) {
            let before = values["gradient"]!.floats
            try run("gradients", batch(part * steps + step))
            values["gradient"]!.floats = zip(before, values["gradient"]!.floats).map { $0 + $1 }
            print(values["loss"]!.floats[0])
        }
        values["gradient"]!.floats = values["gradient"]!.floats.map { $0 / Float(accumulate) }

        // Refuse what is not finite
        guard values["gradient"]!.floats.allSatisfy({ $0.isFinite }) else { throw NotFinite(step: step) }

        // Move the parameters
        try run("optimizer", ["step": .scalar(Float(step + 1))])
    }

    // Keep the state
    values["steps"] = .scalar(Float(steps))
    let vectors = ["parameters", "moment1", "moment2", "statistics", "steps"].flatMap { values[$0]?.floats ?? [] }
    try vectors.withUnsafeBytes { Data($0) }.write(to: kept, options: .atomic)

    // Predict
    try run("forward", ["input": batch(0)["input"]!])
    print(values["logits"]!.floats.prefix((manifest["classes"] as! [String]).count))
}
