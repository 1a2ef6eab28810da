#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "quanta/nn/network.h"

namespace quanta {

/// Writes a quantized network, one whose slots hold frozen FakeQuantize transforms (ptq(), finish_qat()), as a
/// safetensors file: of each quantized layer NAME.codes (U8; the codes at their own bits, one after the other),
/// NAME.scale (F32) and NAME.zero_point (I32), of others NAME.weight (F32), NAME.bias (F32), and of each quantized
/// activation NODE.output.scale and NODE.output.zero_point. So a file of 4-bit weights takes an eighth of the float
/// one. The metadata is the caller's, with "quantization" (JSON: the quantizers) added. Errors: batch normalization
/// that is not folded, a slot that holds anything else.
void save_quantized(const std::filesystem::path& path, const Network& net,
                    const std::map<std::string, std::string>& metadata = {});

/// Reads what save_quantized wrote into a copy of the float network, whose batch normalizations are folded here;
/// its weights become the decoded ones, bit for bit. Error, listing all tensors that are missing, unexpected or of
/// another shape, if the file is not of this network.
Network load_quantized(const std::filesystem::path& path, const Network& architecture);

/// Whether save_quantized wrote this safetensors file.
bool is_quantized(const std::filesystem::path& path);

}  // namespace quanta
