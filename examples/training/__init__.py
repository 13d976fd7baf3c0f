"""How the small example models were trained: drawings, autoencoders, text encoders, models, LoRA runs, adherence."""
