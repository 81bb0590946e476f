"""OpenAI's Video PreTraining data: contractors who play Minecraft."""
