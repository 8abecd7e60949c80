// For the oracles: `export CONFIG.json THETA.f32 FOLDER [bf16] [BYTES]` (a tokenizer of bytes) and `import FOLDER THETA.f32` (prints the config).

#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

#include "node/model_folder/hf_folder.hpp"
#include "node/tokenizer/byte_tokenizer.hpp"

namespace {

using namespace skerry;
using namespace skerry::node;

std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
}

int complain(const Error& error) {
    std::cerr << to_text(error) << std::endl;
    return exit_code(error.code);
}

int do_export(const std::string& config_path, const std::string& theta_path, const std::string& folder, bool bf16, std::uint64_t file_bytes) {
    auto config = parse_model_config(read(config_path));
    if (!config) return complain(config.error());
    const std::string bytes = read(theta_path);
    std::vector<float> theta(bytes.size() / sizeof(float));
    std::copy_n(bytes.data(), theta.size() * sizeof(float), reinterpret_cast<char*>(theta.data()));
    FolderOptions options;
    options.provenance = "A test.";
    options.bf16 = bf16;
    if (file_bytes > 0) options.file_bytes = file_bytes;
    options.files = {{"tokenizer.json", byte_tokenizer_json()}, {"tokenizer_config.json", byte_tokenizer_config_json(config->max_position_embeddings)}};
    auto done = export_model_folder(folder, *config, theta, options);
    return done ? 0 : complain(done.error());
}

int do_import(const std::string& folder, const std::string& theta_path) {
    auto config = read_model_folder_config(folder);
    if (!config) return complain(config.error());
    std::vector<float> theta(make_tensor_table(*config).elements);
    auto done = import_model_folder(folder, *config, theta);
    if (!done) return complain(done.error());
    std::ofstream out(theta_path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(theta.data()), static_cast<std::streamsize>(theta.size() * sizeof(float)));
    std::cout << to_json(*config) << std::endl;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> a(argv + 1, argv + argc);
    if (a.size() >= 4 && a[0] == "export") return do_export(a[1], a[2], a[3], a.size() > 4 && a[4] == "bf16", a.size() > 5 ? std::stoull(a[5]) : 0);
    if (a.size() == 3 && a[0] == "import") return do_import(a[1], a[2]);
    std::cerr << "usage: model_folder_tool export CONFIG THETA FOLDER | import FOLDER THETA\n";
    return 2;
}
