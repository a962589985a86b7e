"""From prompts to token ids: prompts, mixture, rendering, tokenizer, span corruption."""
