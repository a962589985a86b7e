from p5t5.commands.recommend import main

raise SystemExit(main())
