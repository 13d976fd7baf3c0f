#!/bin/bash
# what the LoRA has learned after 1500 steps
cargo run --release --bin sample_chroma -- \
    --prompts-file eridiffusion_v2_prompts.txt --output-dir output/lantern \
    --transformer models/Chroma1-HD/transformer --vae-path models/ae.safetensors \
    --t5-path models/t5xxl_fp16.safetensors --tokenizer-path models/t5xxl_fp16.tokenizer.json \
    --negative "low quality, blurry" --width 1024 --height 768 --steps 26 --cfg 3.6 --seed 7 --offload \
    --lora output/lantern/chroma_lora_step1500.safetensors
