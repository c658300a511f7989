// Trains a bundle's mentee with onnxruntime-android, off the main thread: train(File(BUNDLE), STEPS, File(SAMPLES))

// Load the runtime
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer
import org.json.JSONObject

class Tensor(val dims: LongArray, val floats: FloatArray, val labels: LongArray = LongArray(0)) {
    val row get() = (floats.size + labels.size) / dims[0].toInt()
}

fun scalar(value: Number) = Tensor(longArrayOf(1), floatArrayOf(value.toFloat()))

// Read tensors
fun tensors(file: File): MutableMap<String, Tensor> {
    val data = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    val start = 8 + data.getLong(0).toInt()
    val header = JSONObject(String(data.array(), 8, start - 8))
    val found = mutableMapOf<String, Tensor>()
    for (name in header.keys()) {
        if (name == "__metadata__") continue
        val part = header.getJSONObject(name)
        val shape = part.getJSONArray("shape")
        val dims = LongArray(shape.length()) { shape.getLong(it) }
        val size = dims.fold(1) { product, dim -> product * dim.toInt() }
        val from = start + part.getJSONArray("data_offsets").getInt(0)
        found[name] = when (val dtype = part.getString("dtype")) {
            "F32" -> Tensor(dims, FloatArray(size) { data.getFloat(from + 4 * it) })
            "F16" -> Tensor(dims, FloatArray(size) { half(data.getShort(from + 2 * it).toInt()) })
            "U8" -> Tensor(dims, FloatArray(size) { (data.get(from + it).toInt() and 255).toFloat() })
            "I64" -> Tensor(dims, FloatArray(0), LongArray(size) { data.getLong(from + 8 * it) })
            else -> throw IOException("$file has numbers of type $dtype")
        }
    }
    return found
}

/** The number whose float16 has these bits. */
fun half(bits: Int): Float {
    val exponent = bits shr 10 and 31
    val fraction = (bits and 1023) + if (exponent > 0) 1024 else 0
    return (if (bits and 0x8000 != 0) -1 else 1) * Math.scalb(fraction.toFloat(), maxOf(exponent, 1) - 25)
}

// Open the graphs
fun train(folder: File, steps: Int, samples: File, kept: File) {
    val manifest = JSONObject(File(folder, "manifest.json").readText())
    val environment = OrtEnvironment.getEnvironment()
    val graphs = listOf("gradients", "optimizer", "forward").associateWith { name ->
        environment.createSession(File(folder, "stock/$name.onnx").path)
    }
    val values = mutableMapOf<String, Tensor>()

    fun tensor(from: Tensor) =
        if (from.labels.isEmpty()) OnnxTensor.createTensor(environment, FloatBuffer.wrap(from.floats), from.dims)
        else OnnxTensor.createTensor(environment, LongBuffer.wrap(from.labels), from.dims)

    fun run(graph: String, more: Map<String, Tensor>) {
        val session = graphs.getValue(graph)
        val feeds = session.inputNames.associateWith { tensor(more[it] ?: values.getValue(it)) }
        session.run(feeds).use { found ->
            for ((name, value) in found) {
                value as OnnxTensor
                values[name.removePrefix("new_")] = Tensor(value.info.shape, value.floatBuffer.array())
            }
        }
        feeds.values.forEach { it.close() }
    }

    // Begin with the bundle's state
    values.putAll(tensors(File(folder, "stock/state.safetensors")))
    val parameters = values.getValue("parameters")
    for (name in listOf("moment1", "moment2")) values[name] = Tensor(parameters.dims, FloatArray(parameters.floats.size))
    for (knob in listOf("alpha", "beta", "gamma", "temperature")) {
        values[knob] = scalar(manifest.getJSONObject("loss").getDouble(knob))
    }
    values["learning_rate"] = scalar(manifest.getJSONObject("optimizer").getDouble("learning_rate"))

    // Read the replay samples
    val pool = tensors(File(folder, "supervision.safetensors"))
    val labels = pool.getValue("labels")
    pool["labelled"] = Tensor(labels.dims, FloatArray(labels.row * labels.labels.size) { if (labels.labels[it] >= 0) 1f else 0f })
    pool["supervised"] = Tensor(labels.dims, FloatArray(labels.labels.size) { 1f })

    // Add the owner's samples
    val own = tensors(samples)
    val mine = own.getValue("labels").labels
    own["labelled"] = Tensor(longArrayOf(mine.size.toLong()), FloatArray(mine.size) { if (mine[it] >= 0) 4f else 0f })
    for ((name, all) in pool.toMap()) {
        val zeros = FloatArray(if (name == "labels") 0 else mine.size * all.row) // where the mentor gave no answer
        val dims = all.dims.clone().also { it[0] += mine.size.toLong() }
        pool[name] = Tensor(dims, all.floats + (own[name]?.floats ?: zeros), all.labels + (own[name]?.labels ?: LongArray(0)))
    }

    // Mix batches
    val rules = manifest.getJSONObject("preprocessing")
    val (channels, height, width) = List(3) { rules.getJSONArray("shape").getInt(it) }
    val mean = FloatArray(channels) { rules.getJSONArray("mean").getDouble(it).toFloat() }
    val std = FloatArray(channels) { rules.getJSONArray("std").getDouble(it).toFloat() }
    val scale = if (rules.optString("dtype") == "float32") 1 else 255
    val input = pool.getValue("input").floats
    for (i in input.indices) {
        val channel = i / (height * width) % channels
        input[i] = (input[i] / scale - mean[channel]) / std[channel]
    }

    fun batch(number: Int): Map<String, Tensor> {
        val taken = pool.mapValues { (name, all) ->
            val row = all.row
            fun at(i: Int) = ((24L * number + i / row) * 7919 % all.dims[0]).toInt() * row + i % row
            val dims = all.dims.clone().also { it[0] = 24 }
            if (name == "labels") Tensor(dims, FloatArray(0), LongArray(24) { all.labels[at(it)] })
            else Tensor(dims, FloatArray(24 * row) { all.floats[at(it)] })
        }
        return taken + ("seed" to scalar(number))
    }

    for (step in 0 until steps) {
        // Compute gradients
        run("gradients", batch(step))
        println(values.getValue("loss").floats[0])

        // Add up the gradients of several batches
        val accumulate = manifest.getJSONObject("optimizer").optInt("accumulate", 1)
        for (part in 1 until accumulate) {
            val before = values.getValue("gradient").floats
            run("gradients", batch(part * steps + step))
            val sum = values.getValue("gradient").floats
            for (i in sum.indices) sum[i] += before[i]
            println(values.getValue("loss").floats[0])
        }
        val gradient = values.getValue("gradient").floats
        for (i in gradient.indices) gradient[i] = gradient[i] / accumulate

        // Refuse what is not finite
        check(gradient.all { it.isFinite() }) { "step $step: the gradient is not finite: lower the learning rate" }

        // Move the parameters
        run("optimizer", mapOf("step" to scalar(step + 1)))
    }

    // Keep the state
    values["steps"] = scalar(steps)
    val vectors = listOf("parameters", "moment1", "moment2", "statistics", "steps").mapNotNull { values[it] }
    val bytes = ByteBuffer.allocate(4 * vectors.map { it.floats.size }.sum()).order(ByteOrder.LITTLE_ENDIAN)
    for (vector in vectors) for (value in vector.floats) bytes.putFloat(value)
    val new = File(kept.path + ".new")
    new.writeBytes(bytes.array())
    if (!new.renameTo(kept)) throw IOException("$kept cannot be written")

    // Predict
    run("forward", mapOf("input" to batch(0).getValue("input")))
    println(values.getValue("logits").floats.take(manifest.getJSONArray("classes").length()))
}
